"""Look for known vulnerabilities of the pinned packages; ends with 1 if there are any.

pip-audit asks PyPI's database.  Where that cannot be had, or does not know the packages, the check
is a weaker one: that the versions are not older than MOST_DAYS, by the date in constraints.txt.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
MOST_DAYS = 120
_DATED = re.compile(r"^# Versions of (\d{4}-\d{2}-\d{2})\.", re.MULTILINE)


def vulnerabilities(constraints: Path) -> list[str] | None:
    """A line for each; None where not every package could be looked up."""
    command = [
        *(sys.executable, "-P", "-m", "pip_audit", "--requirement", str(constraints)),
        *("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"),
        *("--timeout", "10"),
    ]
    try:
        audited = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        packages = json.loads(audited.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return None
    found = [
        f"{package['name']} {package['version']}: {each['id']}, mended in "
        f"{', '.join(each['fix_versions']) or 'no version yet'}"
        for package in packages
        for each in package.get("vulns", [])
    ]
    skipped = any("skip_reason" in package for package in packages)
    return None if skipped and not found else found


def days_old(constraints: Path, today: date) -> int:
    """Raises ValueError where no date is stated."""
    stated = _DATED.search(constraints.read_text(encoding="utf-8"))
    if stated is None:
        raise ValueError(f"{constraints} does not say of which day its versions are")
    return (today - date.fromisoformat(stated[1])).days


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("constraints", type=Path, nargs="?", default=CONSTRAINTS)
    parser.add_argument("--today", type=date.fromisoformat, default=date.today())
    options = parser.parse_args()
    found = vulnerabilities(options.constraints)
    if found is not None:
        print("\n".join(found) or "no known vulnerabilities")
        return bool(found)
    days = days_old(options.constraints, options.today)
    print(f"no database of vulnerabilities: the pinned versions are {days} days old")
    if days > MOST_DAYS:
        print(f"renew them: that is more than {MOST_DAYS} days")
    return days > MOST_DAYS


if __name__ == "__main__":
    sys.exit(main())
