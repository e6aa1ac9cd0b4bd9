"""The benchmarks in short: they run, their figures make sense, and they notice what is wrong."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.engines.candidates import candidates
from app.engines.torch_engine import TorchEngine
from app.faces import pipeline
from app.faces.paste import paste
from model.networks import Architecture, FullGenerator
from tests.benchmarks import contestants, engine, plot, report, service, stages, start, turns
from tests.benchmarks.peak import gflop_a_face, matrix_product
from tests.benchmarks.photos import crowd, portrait
from tests.benchmarks.plain import Plain
from tests.soak.client import Answer, End

SMALL = Architecture(64, channel_multiplier=1, narrow=0.25)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def network(cache: Path) -> engine.Network:
    return engine.measure(SMALL, (1, 2), 1, CPU, cache, sides=(256,), turn_s=0.05, calm_s=0)


@pytest.fixture(scope="module")
def plain() -> Plain:
    return Plain.ready()


def test_every_engine_takes_part_and_computes_the_same(network: engine.Network) -> None:
    names = {figure.contestant for figure in network.figures}
    ours = {f"{candidate.engine} {candidate.precision}" for candidate in candidates(CPU)}
    assert names == {"published fp32", "onnxruntime fp32", *ours}
    assert len(network.figures) == 2 * len(names)
    for figure in network.figures:
        assert 0 < figure.ms < 5000
        assert figure.psnr >= engine.LEAST_DB[figure.precision]
        assert 0 < figure.peak_share < 5  # of a very small product
        assert figure.to_onnx_runtime is not None
        assert figure.to_onnx_runtime > 0
        if figure.contestant == "published fp32":
            assert figure.to_published == 1
        if figure.batch == 1:
            assert figure.to_alone == 1
    assert "torch fp32" in engine.text(network)


def test_a_contestant_that_computes_something_else_is_noticed() -> None:
    """By three levels in float32, which would pass for bfloat16."""
    crops = engine.crops_of(64, 6)
    assert crops.shape == (6, 64, 64, 3)
    np.testing.assert_array_equal(crops[4:], crops[:2])
    off = np.clip(crops.astype(np.int16) + 3, 0, 255).astype(np.uint8)
    careless = contestants.Contestant("careless", "fp32", lambda crops: crops)
    assert engine.agreement(careless, crops, crops) == 99
    with pytest.raises(engine.DisagreementError, match="careless"):
        engine.agreement(careless, off, crops)
    assert 30 < engine.agreement(replace(careless, precision="bf16"), off, crops) < 45


def test_a_wrong_engine_ends_the_run(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def some(
        generator: FullGenerator, device: torch.device, _: Path
    ) -> list[contestants.Contestant]:
        right = TorchEngine(generator, device)
        return [
            contestants.Contestant(contestants.PUBLISHED, "fp32", right),
            contestants.Contestant(contestants.REFERENCE, "fp32", right),
            contestants.Contestant("mirror", "fp32", lambda crops: right(crops)[:, :, ::-1].copy()),
        ]

    monkeypatch.setattr(engine, "contestants", some)
    with pytest.raises(engine.DisagreementError, match="mirror"):
        engine.measure(SMALL, (1,), 1, CPU, cache, sides=(64,), turn_s=0, calm_s=0)


def test_pictures_of_the_random_network_are_not_cut_off() -> None:
    generator = contestants.random_generator(SMALL)
    with torch.inference_mode():
        pictures = generator(torch.rand(2, 3, 64, 64) * 2 - 1)
    assert pictures.abs().max() < 1.5
    assert pictures.std() > 0.05


def test_work_is_counted() -> None:
    """A network twice as wide has about four times the work."""
    one, other = (gflop_a_face(Architecture(64, 1, narrow).generator()) for narrow in (0.25, 0.5))
    assert 3 < other / one < 4.2
    speeds = matrix_product(["fp32"], CPU, sides=(64, 512), rounds=1, turn_s=0.05, calm_s=0)
    assert 1 < speeds["fp32"] < 100_000


def test_turns_alternate_and_the_first_call_of_several_does_not_count() -> None:
    calls: list[str] = []
    seconds = turns.take_turns(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, calm_s=0
    )
    assert calls == ["a", "b", "a", "b"]
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}
    several: list[int] = []
    times = turns.take_turns({0: lambda: several.append(1)}, 1, turn_s=0.01, calm_s=0)[0]
    assert len(times) == len(several) - 1


def test_stages_of_a_portrait_and_of_a_crowd(plain: Plain) -> None:
    alone = stages.measure("portrait", portrait(), plain, 2)
    many = stages.measure("crowd", crowd(3, 1328, 568), plain, 1)
    assert (alone.faces, alone.width, alone.height) == (1, 512, 512)
    assert (many.faces, many.width, many.height) == (3, 1328, 568)
    assert alone.ms.keys() == set(stages.STAGES)
    assert all(ms > 0 for ms in alone.ms.values())
    for result in (alone, many):
        assert 0.8 * result.whole < sum(result.ms.values()) < 1.2 * result.whole
        assert result.but_restoration < result.whole
    assert many.ms["restore"] > 1.2 * alone.ms["restore"]
    assert "1328x568" in stages.text([alone, many])


def test_a_slow_stage_is_seen(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_paste(*args: Any, **options: Any) -> Any:
        time.sleep(0.3)
        return paste(*args, **options)

    monkeypatch.setattr(pipeline, "paste", slow_paste)
    ms = stages.measure("portrait", portrait(), plain, 1).ms
    assert ms["paste"] > 300
    assert max(ms["decode"], ms["align"], ms["encode"]) < 300
    assert vars(pipeline)["paste"] is slow_paste


@pytest.mark.long
def test_the_service_against_plain_functions() -> None:
    result = service.measure((1, 2), rounds=1, turn_s=1.5, idle_rounds=3, cores=2)
    speeds = {figure.name: figure for figure in result.figures}
    assert len(speeds) == 4
    for figure in speeds.values():
        assert figure.photos_a_second > 0
        assert figure.processor_ms > 1
        assert 0.05 < figure.to_loop < 20
    assert speeds["service, 2 at a time"].latency.p50 > 0
    assert 0.3 < result.idle.ratio < 10
    assert 50 < result.mb_before < result.mb_after + 100
    assert "ratio" in service.text(result)


def test_an_answer_that_is_no_restored_portrait_is_noticed() -> None:
    fine = Answer(200, {"x-faces-restored": "1"}, b"", 0.1, End.COMPLETE)
    service.check(fine)
    for wrong in (replace(fine, status=503), replace(fine, headers={"x-faces-restored": "0"})):
        with pytest.raises(RuntimeError):
            service.check(wrong)


@pytest.mark.long
def test_start() -> None:
    result = start.measure(1, warm_up=0)
    assert 0.3 < result.import_torch < result.healthy < start.PATIENCE_S
    assert result.ratio == result.healthy / result.import_torch


def test_a_start_that_fails_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPEN_MAX_FACES", "nonsense")
    with pytest.raises(RuntimeError, match="healthy"):
        start.seconds_to_healthy()


def test_results_are_kept_and_drawn(
    network: engine.Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, picture = tmp_path / "deep" / "engine.json", tmp_path / "bench.png"
    report.keep(results, "engine", {"networks": [asdict(network)]})
    kept = json.loads(results.read_text())
    assert kept["machine"]["cores"] >= 1
    assert kept["machine"]["torch"] == torch.__version__
    assert kept["networks"][0]["figures"][0]["ms"] > 0
    monkeypatch.setattr("sys.argv", ["plot", str(results), "-o", str(picture)])
    plot.main()
    assert picture.read_bytes().startswith(b"\x89PNG")
    report.keep(results, "start", {})
    with pytest.raises(SystemExit, match="none of these"):
        plot.main()
