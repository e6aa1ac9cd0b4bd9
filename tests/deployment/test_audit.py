"""The audit of pinned packages, with stand-ins for pip-audit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / ".ci" / "audit.py"
CLEAN = {"name": "numpy", "version": "2.4.0", "vulns": []}
BAD = {
    "name": "pillow",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": ""}],
}
SKIPPED = {"name": "torch", "skip_reason": "not found"}


def audit(
    folder: Path, packages: list[dict[str, Any]] | None, today: str
) -> subprocess.CompletedProcess[str]:
    """Run it; ``packages`` is what pip-audit finds, None where it does not work."""
    constraints = folder / "constraints.txt"
    constraints.write_text("# Versions of 2026-11-01.\nnumpy==2.4.0\n")
    answer = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    (folder / "pip_audit.py").write_text(f"print({answer!r})")
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(constraints), "--today", today],
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("packages", "today", "status", "said"),
    [
        ([CLEAN], "2030-01-01", 0, "no known vulnerabilities"),
        ([CLEAN, SKIPPED, BAD], "2026-11-02", 1, "pillow 1.0: PYSEC-1, mended in 1.1"),
        ([CLEAN, SKIPPED], "2026-12-01", 0, "30 days old"),
        ([CLEAN, SKIPPED], "2027-03-02", 1, "renew them"),
        (None, "2027-03-01", 0, "120 days old"),
        (None, "2027-03-02", 1, "renew them"),
    ],
)
def test_audit(
    packages: list[dict[str, Any]] | None, today: str, status: int, said: str, tmp_path: Path
) -> None:
    audited = audit(tmp_path, packages, today)
    assert (audited.returncode, audited.stderr) == (status, "")
    assert said in audited.stdout


def test_it_is_run_and_the_constraints_state_their_date() -> None:
    assert "make audit" in (REPOSITORY / ".ci" / "run").read_text()
    stated = re.search(
        r"^# Versions of (\S+)\.", (REPOSITORY / "constraints.txt").read_text(), re.M
    )
    assert stated is not None
