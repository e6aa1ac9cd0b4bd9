"""Every Python that the project starts leaves the working directory out of its path."""

from __future__ import annotations

import re

from tests.conftest import REPOSITORY


def test_no_code_comes_from_the_working_directory() -> None:
    flags = {
        f"{path.relative_to(REPOSITORY)}: {flag}"
        for folder in ("app", "model", ".ci")
        for path in (REPOSITORY / folder).rglob("*.py")
        for flag in re.findall(r"sys\.executable,\s*([^\s,\])]+)", path.read_text())
    }
    assert len(flags) >= 3
    assert not {started for started in flags if not started.endswith(('"-P"', '"-I"'))}
