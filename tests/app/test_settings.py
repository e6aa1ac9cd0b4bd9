"""Settings: defaults of the contract, nonsense refused with one line."""

from pathlib import Path

import pytest

from app.settings import Settings, read_settings


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings()
    assert (settings.model, settings.host, settings.port) == ("auto", "0.0.0.0", 8000)
    assert (settings.queue_faces, settings.max_faces) == (256, 64)
    assert (settings.max_pixels, settings.max_output_pixels) == (40_000_000, 160_000_000)
    assert (settings.min_face, settings.detection_threshold) == (24, 0.9)
    assert settings.max_upload_bytes == 20_000_000
    assert settings.weights_dir.is_dir()


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GPEN_PORT", "9001")
    monkeypatch.setenv("GPEN_WEIGHTS_DIR", str(tmp_path))
    settings = read_settings()
    assert settings.port == 9001
    assert settings.weights_dir == tmp_path
    assert read_settings(port="9002").port == 9002


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("PORT", "99999", "port"),
        ("PORT", "http", "port"),
        ("PORT", "tcp://10.0.0.1:80", "enableServiceLinks: false"),
        ("DEVICE", "tpu", "device"),
        ("MAX_UPLOAD_MB", "0", "max_upload_mb"),
        ("DETECTION_THRESHOLD", "1.5", "detection_threshold"),
        ("WEIGHTS_DIR", "/nowhere/at/all", "the folder /nowhere/at/all does not exist"),
        ("QUEUE_FACES", "10", "queue_faces (10) is less than max_faces (64)"),
        ("MAX_PIXELS", "999999999", "max_pixels"),
    ],
)
def test_nonsense_ends_the_process_with_one_line(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"GPEN_{name}", value)
    with pytest.raises(SystemExit) as ended:
        read_settings()
    message = str(ended.value.code)
    assert told in message
    assert "\n" not in message
