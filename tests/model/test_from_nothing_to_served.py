"""Train, export, serve, restore: the whole way, on a toy."""

import cv2
import httpx2
import numpy as np

from model.export import main as export
from model.train import main as train
from model.training.config_file import save_config
from tests.conftest import serving


def test_from_nothing_to_served(make_config, face_folder, tmp_path, astronaut, astronaut_png):
    save_config(make_config(validate_every=5), tmp_path / "toy.yaml")
    run, weights = tmp_path / "run", tmp_path / "toy.safetensors"
    train(["--config", f"{tmp_path}/toy.yaml", "--data", str(face_folder), "--output", str(run)])
    export(["--checkpoint", str(run / "best.pt"), "--output", str(weights)])
    with serving(tmp_path / "log", GPEN_MODEL=str(weights), GPEN_DEVICE="cpu") as server:
        health = httpx2.get(f"{server.url}/health").json()
        answer = httpx2.post(
            f"{server.url}/enhance", files={"file": ("photo.png", astronaut_png)}, timeout=60
        )
    assert health["model"] == "toy"
    assert answer.status_code == 200
    assert answer.headers["X-Faces-Restored"] == "1"
    restored = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert restored is not None
    assert restored.shape == astronaut.shape
    assert (restored != astronaut).any()
