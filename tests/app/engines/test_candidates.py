import pytest
import torch

from app.engines import candidates as module
from app.engines.candidates import REFERENCE, Candidate, Measurement, candidates, choose
from app.engines.engine import EngineError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def measured(engine, precision, milliseconds, psnr) -> Measurement:
    return Measurement(engine=engine, precision=precision, milliseconds=milliseconds, psnr=psnr)


MEASURED = [
    measured("torch", "fp32", 100, 99),
    measured("torch", "bf16", 60, 50),
    measured("openvino", "fp32", 50, 90),
    measured("openvino", "bf16", 20, 44.9),
]
ALL = [Candidate(m.engine, m.precision) for m in MEASURED]


def only(engine="auto", precision="auto") -> list[Candidate]:
    return [c for c in ALL if engine in ("auto", c.engine) and precision in ("auto", c.precision)]


def test_the_fastest_of_the_faithful_is_chosen():
    assert choose(ALL, MEASURED) == MEASURED[2]
    faithful = measured("openvino", "bf16", 20, 45)
    assert choose(ALL, [*MEASURED[:3], faithful]) == faithful


def test_a_forced_engine_is_chosen_although_it_is_not_the_fastest(caplog):
    assert choose(only(engine="torch"), MEASURED) == MEASURED[1]
    assert not caplog.records


def test_an_unfaithful_precision_is_taken_when_it_is_forced_with_a_warning(caplog):
    assert choose(only("openvino", "bf16"), MEASURED) == MEASURED[3]
    assert "openvino with precision bf16 is only 44.9 dB" in caplog.text


def test_without_measurements_there_is_no_choice():
    assert choose(ALL, []) is None
    assert choose(only(engine="openvino"), MEASURED[:2]) is None


def test_what_runs_on_this_processor():
    found = candidates(CPU)
    assert found[0] == REFERENCE
    assert len(found) == len(set(found))
    assert candidates(CPU, "torch", "fp32") == [REFERENCE]


def test_without_openvino_pytorch_is_left(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert {c.engine for c in candidates(CPU)} == {"torch"}
    with pytest.raises(EngineError, match="engine openvino with precision auto is not available"):
        candidates(CPU, "openvino")


@pytest.mark.parametrize("bf16", [False, True])
def test_on_a_gpu(monkeypatch, bf16):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    halves = {"bf16", "fp16"} if bf16 else {"fp16"}
    assert {(c.engine, c.precision) for c in candidates(CUDA)} == {
        ("torch", precision) for precision in {"fp32"} | halves
    }
    with pytest.raises(EngineError, match="torch fp32, torch fp16"):
        candidates(CUDA, "openvino")
