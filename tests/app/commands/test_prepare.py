from typing import Any

import pytest
import torch

from app.cli import main
from app.engines.candidates import Measurement
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


def test_one_gpu_of_each_model_is_measured(tmp_path, monkeypatch, capsys):
    weights = save_small_generator(tmp_path / "small.safetensors")
    names = {0: "H100", 1: "H100", 2: "T4"}
    devices = [torch.device("cuda", index) for index in names]
    measured = []

    def prepare(_weights, cache, _candidates, *, again):
        measured.append(names[cache.device.index])
        return [Measurement(engine="torch", precision="fp16", milliseconds=1, psnr=50)]

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[device.index])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr("app.serving.load.choose_devices", lambda _: devices)
    monkeypatch.setattr("app.engines.build.prepare", prepare)
    assert run("--model", weights, "--cache-dir", tmp_path / "cache") == 0
    assert sorted(measured) == ["H100", "T4"]
    assert capsys.readouterr().out.count("<- auto") == 2


def test_a_fault_is_one_line(tmp_path, capsys):
    assert run("--model", tmp_path / "none.pth", "--cache-dir", tmp_path) == 1
    assert capsys.readouterr().err.count("\n") == 1
