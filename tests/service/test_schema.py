"""The API against its own description: whatever Schemathesis makes up is answered as documented.

Its checks hold every answer against the description: status, media type, headers, body; data that
the description forbids must be refused, and methods that it lacks too.  Two checks are left out:
5xx are wrong but for those of an overloaded service (our own check says so), and what the
description allows may still be no picture.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx2

from tests.client import assert_problem
from tests.conftest import REPOSITORY, Server

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "40"))


def test_every_answer_is_documented(server: Server, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
        *("--max-examples", str(EXAMPLES), "--seed", "1", "--no-color", "--continue-on-failure"),
        *("--exclude-checks", "positive_data_acceptance,not_a_server_error"),
    ]
    hooks = {
        "SCHEMATHESIS_HOOKS": "tests.service.schemathesis_hooks",
        "PYTHONPATH": str(REPOSITORY),
    }
    ended = subprocess.run(
        command,
        check=False,
        cwd=tmp_path,  # it leaves a folder with what it has found
        env={**os.environ, **hooks},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(r"Tested: 5\b", ended.stdout), ended.stdout
    (generated,) = re.findall(r"(\d+) generated", ended.stdout)
    assert int(generated) > 100
    assert "Traceback" not in server.log.read_text()


def test_what_is_documented_can_be_read(server: Server) -> None:
    description = httpx2.get(f"{server.url}/openapi.json").json()
    operation = description["paths"]["/enhance"]["post"]
    assert {"200", "400", "401", "413", "415", "422", "503", "504"} <= operation["responses"].keys()
    headers = {parameter["name"] for parameter in operation["parameters"]}
    assert headers == {"X-Request-Timeout", "X-Request-ID"}
    assert_problem(httpx2.post(f"{server.url}/docs"), 405)
