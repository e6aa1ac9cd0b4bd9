import json
import logging

import pytest

from app.log import configure_logging


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


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning")
    logging.getLogger("some.where").info("unseen")
    logging.getLogger("some.where").warning("seen")
    assert capsys.readouterr().err.endswith(" WARNING some.where: seen\n")
