from typing import Any

import pytest

from app.cli import main
from tests.app.engines.conftest import save_small_generator


def run(*arguments: Any) -> Any:
    with pytest.raises(SystemExit) as ended:
        main(["prepare", *map(str, arguments)])
    return ended.value.code


def test_says_what_was_measured_and_what_is_chosen(tmp_path, capsys):
    weights = save_small_generator(tmp_path / "small.safetensors")
    assert run("--model", weights, "--cache-dir", tmp_path / "cache") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["torch", "fp32"]
    assert all("ms a face" in line and "dB from float32" in line for line in lines)
    assert sum("<- auto" in line for line in lines) == 1


def test_a_fault_is_one_line(tmp_path, capsys):
    assert run("--model", tmp_path / "none.pth", "--cache-dir", tmp_path) == 1
    assert capsys.readouterr().err.count("\n") == 1
