"""The recipe for fine-tuning from its start to a server of somebody else, with seeded weights."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoints.generator import load_generator
from model.checkpoints.table import ARCFACE_IR_SE50, BFR_512, DISCRIMINATOR_512, VGG16
from model.evaluate import main as evaluate
from model.evaluation.perceptual import Identity, Lpips
from model.export import main as export
from model.networks import Architecture
from model.training.records import EndRecord, StartRecord, TrainRecord, ValidationRecord
from tests.conftest import REPOSITORY
from tests.model.training_runs import rows

SIZE = 64
SETTINGS = [
    *(f"train.img_size={SIZE}", "network={channel_multiplier: 2, narrow: 0.0625}"),
    *("train.content.steps=3", "train.warmup_steps=3", "train.num_steps=6"),
    *("train.batch_size=2", "train.precision=fp32", "data.workers=0"),
    *("train.log_every=3", "train.save_every=2"),
]

ELSEWHERE = """
import sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
face = numpy.load(sys.argv[2])
(restored,) = session.run(["output"], {"input": face})
assert not {"model", "app", "torch"} & set(sys.modules)
numpy.save(sys.argv[3], restored)
"""
"""A program that knows nothing of this project."""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A weights folder with the four files that the recipe names, of seeded networks."""
    torch.manual_seed(0)
    architecture = Architecture(SIZE, 2, 1 / 16)
    states = {
        BFR_512: architecture.generator().state_dict(),
        DISCRIMINATOR_512: architecture.discriminator().state_dict(),
        VGG16: {k: v for k, v in Lpips().state_dict().items() if k.startswith("features.")},
        ARCFACE_IR_SE50: Identity().network.state_dict(),
    }
    folder = tmp_path / "weights"
    folder.mkdir()
    for file, state in states.items():
        torch.save(state, folder / file.file_name)
    return folder


def start(faces: Path, run: Path, weights: Path) -> subprocess.Popen[str]:
    """The same command to begin a run and to go on with it."""
    command = [sys.executable, "-m", "model.train", "--resume", "auto"]
    command += ["--config", "model/configs/gpen_512_finetune.yaml"]
    command += ["--data", str(faces), "--output", str(run)]
    for setting in [*SETTINGS, f"data.holdout={faces / 'holdout.txt'}"]:
        command += ["--set", setting]
    environment = os.environ | {"GPEN_WEIGHTS_DIR": str(weights), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True
    )


def kill_after(process: subprocess.Popen[str], run: Path, checkpoint: str) -> None:
    """SIGKILL, which a process cannot handle, once the run has got as far as a checkpoint."""
    deadline = time.monotonic() + 600
    try:
        while (run / "last.pt").resolve().name not in (checkpoint, "0000006.pt", "0000008.pt"):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_fine_tuned_killed_resumed_evaluated_exported_and_run_elsewhere(
    face_folder, weights, tmp_path, monkeypatch, capsys
):
    run, holdout = tmp_path / "run", face_folder / "holdout.txt"
    holdout.write_text("5.png\n")
    kill_after(start(face_folder, run, weights), run, "0000004.pt")
    assert rows(run, EndRecord) == []
    again = start(face_folder, run, weights)
    try:
        _, said = again.communicate(timeout=600)
    finally:
        again.kill()
    assert again.returncode == 0, said

    begun, resumed = rows(run, StartRecord)
    assert begun.step == 0
    assert resumed.step in (4, 6, 8)  # it may have got further before the signal arrived
    trained = {row.step: row for row in rows(run, TrainRecord)}
    assert [(step, row.stage) for step, row in sorted(trained.items()) if step % 3 == 0] == [
        *((3, "content"), (6, "warmup"), (9, "joint")),
    ]
    assert {"lpips", "identity"} <= trained[3].losses.keys()
    assert {"adversarial", "feature_matching"} <= trained[9].losses.keys()
    last = rows(run, ValidationRecord)[-1]
    assert last.lpips is not None
    assert last.identity is not None
    assert [row.reason for row in rows(run, EndRecord)] == ["finished"]

    monkeypatch.setenv("GPEN_WEIGHTS_DIR", str(weights))
    tuned = tmp_path / "tuned.safetensors"
    export(["--checkpoint", str(run / "last.pt"), "--output", str(tuned)])
    faces = ["--hq", str(face_folder), "--holdout", str(run / "holdout.txt")]
    judges = ["--lpips-weights", VGG16.name, "--identity-weights", ARCFACE_IR_SE50.name]
    evaluate(["--weights", str(tuned), *faces, *judges])
    scores = capsys.readouterr().out
    assert "lpips" in scores
    assert "identity" in scores

    onnx, face, restored = (tmp_path / name for name in ("tuned.onnx", "face.npy", "restored.npy"))
    export(["--weights", str(tuned), "--output", str(onnx)])
    x = np.random.default_rng(0).uniform(-1, 1, (3, 3, SIZE, SIZE)).astype(np.float32)
    np.save(face, x)
    subprocess.run(
        [sys.executable, "-I", "-c", ELSEWHERE, str(onnx), str(face), str(restored)],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    generator, _ = load_generator(tuned)
    with torch.inference_mode():
        expected = generator(torch.from_numpy(x)).numpy()
    assert np.abs(np.load(restored) - expected).max() * 127.5 <= 2
