"""``python -m tests.soak``: the long load test.  Exit status 1 when a promise was broken."""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.soak.scenarios import (
    Result,
    prepare,
    run_drain,
    run_half_open,
    run_huge_body,
    run_mixed,
    run_overload,
)

_OPEN_FILES = 4096


def main() -> int:
    options = _parser().parse_args()
    _allow_open_files(_OPEN_FILES)
    if options.url is None:  # else the first minute would be measured with another engine
        prepare()
    scenarios: dict[str, Callable[[], Result]] = {
        "mixed": lambda: run_mixed(options.requests, options.concurrency, options.url, options.pid),
        "overload": lambda: run_overload(options.seconds),
        "half-open": run_half_open,
        "huge-body": run_huge_body,
        "drain": run_drain,
    }
    chosen = options.scenario or (["mixed"] if options.url else list(scenarios))
    if options.url and chosen != ["mixed"]:
        sys.exit("error: only the scenario `mixed` can use a running server")
    results: dict[str, Result] = {}
    for name in chosen:
        sys.stdout.write(f"\n{name}\n{'-' * len(name)}\n")
        sys.stdout.flush()
        results[name] = result = scenarios[name]()
        told = [f"VIOLATION: {violation}" for violation in result.violations] or ["as promised"]
        sys.stdout.write("\n".join([result.text(), *told]) + "\n")
        if options.json is not None:  # after each, in case that the next one breaks
            options.json.write_text(json.dumps(_plain(results), indent=2) + "\n")
    return 1 if any(result.violations for result in results.values()) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument(
        "--scenario",
        action="append",
        choices=["mixed", "overload", "half-open", "huge-body", "drain"],
        help="one of them, or more by repeating it (default: all)",
    )
    parser.add_argument("--requests", type=int, default=5000, help="of the mixed scenario")
    parser.add_argument("--concurrency", type=int, default=8, help="of the mixed scenario")
    parser.add_argument("--seconds", type=float, default=90, help="of the overload")
    parser.add_argument("--url", help="a running server, for the mixed scenario")
    parser.add_argument("--pid", type=int, help="its process, to watch its memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    return parser


def _plain(results: dict[str, Result]) -> dict[str, object]:
    return {name: asdict(result) for name, result in results.items()}


def _allow_open_files(wanted: int) -> None:
    """A connection is a file, and the half-open ones are many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


if __name__ == "__main__":
    sys.exit(main())
