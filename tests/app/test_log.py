import json
import logging
from contextvars import copy_context
from datetime import UTC, datetime, timedelta

import pytest

from app.log import LogFormat, configure_logging, request_id
from app.serving.load import Loaded
from app.threads import WatchedPool
from tests.app.running import running, wait_for

LOG_FORMATS: tuple[LogFormat, ...] = ("text", "json")


@pytest.fixture(autouse=True)
def _root_logger_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    logging.getLogger("some.where").info("two\nlines, request %s", "abc")
    logging.getLogger("some.where").debug("unseen")
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert record.keys() == {"time", "level", "logger", "message"}
    assert (record["level"], record["logger"]) == ("INFO", "some.where")
    assert record["message"] == "two\nlines, request abc"


def test_times_have_their_zone(capsys: pytest.CaptureFixture[str]) -> None:
    for log_format in LOG_FORMATS:
        configure_logging("info", log_format)
        logging.getLogger("some.where").info("seen")
        line = capsys.readouterr().err
        time = json.loads(line)["time"] if log_format == "json" else line.split()[0]
        assert datetime.fromisoformat(time).utcoffset() is not None
        assert abs(datetime.now(UTC) - datetime.fromisoformat(time)) < timedelta(minutes=1)


def test_a_record_has_the_id_of_its_request_in_threads_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("info", "json")
    log = logging.getLogger("some.where")

    def work(request: str) -> None:
        request_id.set(request)
        pool.submit(log.info, "of %s", request).result()

    with WatchedPool(1, "test") as pool:
        for request in ("one", "two"):
            copy_context().run(work, request)
        log.info("of nobody")
    one, two, nobody = map(json.loads, capsys.readouterr().err.splitlines())
    assert (one["request_id"], two["request_id"]) == ("one", "two")
    assert "request_id" not in nobody


def test_names_forge_no_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    logging.getLogger("some.where").info("loaded %s", "a\nERROR b: \x1b[2Jforged")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(r"loaded a\nERROR b: \x1b[2Jforged")


def test_requests_are_told_in_fields(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    loaded: Loaded,
    astronaut_png: bytes,
) -> None:
    """A photo, and one that is broken: what its decoder says has the id, too."""
    broken = astronaut_png[:2000]
    with running(monkeypatch, lambda _: loaded) as (client, _):
        wait_for(client, "ok")
        configure_logging("info", "json")
        for name, photo in (("good", astronaut_png), ("bad", broken)):
            client.post("/enhance", files={"file": photo}, headers={"X-Request-ID": name})
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    good, bad = (line for line in lines if line["logger"] == "app.http.middleware")
    assert (good["request_id"], good["status"], good["faces"]) == ("good", 200, 1)
    assert (bad["request_id"], bad["status"], bad["reason"]) == ("bad", 422, "broken-picture")
    assert good["route"] == bad["route"] == "/enhance"
    assert good["milliseconds"] > 0
    (cause,) = (line for line in lines if line["logger"] == "app.imaging.jail.decoder")
    assert "broken picture" in cause["message"]
    assert cause["request_id"] == "bad"


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning")
    logging.getLogger("some.where").info("unseen")
    logging.getLogger("some.where").warning("seen")
    assert capsys.readouterr().err.endswith(" WARNING some.where: seen\n")
