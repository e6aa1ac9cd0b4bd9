"""All settings, from environment variables (prefix ``GPEN_``) or flags of the commands."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

import platformdirs
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.engine_names import EngineName, Precision
from app.log import LogFormat

_BUNDLED_WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
_SHORTEST_KEY = 16
_FORM_OVERHEAD = 64 * 1024  # bytes of a form for boundaries and options
_PILLOW_LIMIT = 178_000_000  # pixels from which Pillow refuses pictures as decompression bombs


def _file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"the file {path} does not exist")
    return path


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError(f"the folder {path} does not exist")
    return path


def _port(value: object) -> object:
    if isinstance(value, str) and value.startswith("tcp://"):
        raise ValueError(
            f"{value!r} is what Kubernetes sets as GPEN_PORT for a Service named gpen: set "
            "enableServiceLinks: false for the pod, or rename the Service"
        )
    return value


@dataclass(frozen=True)
class Limits:
    """The settings that limit the work on one photo."""

    max_pixels: int
    max_output_pixels: int
    max_faces: int
    min_face: float
    """Shorter side of the smallest box, in pixels."""
    detection_threshold: float


class Settings(BaseSettings):
    """Validated settings.  Raises pydantic's ValidationError."""

    model_config = SettingsConfigDict(
        env_prefix="GPEN_", frozen=True, extra="ignore", allow_inf_nan=False
    )

    model: str = Field("auto", description="auto, a registered name, or a weights file")
    weights_dir: Annotated[Path, AfterValidator(_folder)] = Field(
        _BUNDLED_WEIGHTS, description="folder of weights files"
    )
    cache_dir: Path = Field(
        Path(platformdirs.user_cache_dir("gpen-portrait")),
        description="folder of downloads and converted models; nothing else is written to",
    )
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N"
    )
    engine: Literal["auto"] | EngineName = Field(
        "auto", description="auto, torch, openvino, onnxruntime"
    )
    precision: Literal["auto"] | Precision = Field("auto", description="auto, fp32, bf16, fp16")

    host: str = Field("0.0.0.0", description="address to listen on")
    port: Annotated[int, BeforeValidator(_port)] = Field(
        8000, ge=1, le=65535, description="port to listen on"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="log level")
    log_format: LogFormat = Field("text", description="text or json")

    max_batch: PositiveInt | None = Field(None, description="faces per batch (default: by device)")
    max_wait_ms: float | None = Field(
        None,
        ge=0,
        le=1000,
        description="milliseconds that a batch waits to fill (default: by device)",
    )
    queue_faces: PositiveInt = Field(
        256, description="faces, or photos, that may wait in the queue"
    )
    max_faces: PositiveInt = Field(64, description="faces restored per photo")

    max_upload_mb: float = Field(
        20, gt=0, le=1024, description="size of an uploaded photo in MB (10^6 bytes)"
    )
    max_pixels: PositiveInt = Field(40_000_000, le=_PILLOW_LIMIT, description="pixels of a photo")
    max_output_pixels: PositiveInt = Field(160_000_000, description="pixels of a result")
    max_pixels_in_flight: PositiveInt | None = Field(
        None, description="pixels of all photos in progress (default: by memory)"
    )
    max_requests_in_flight: PositiveInt = Field(
        1000, description="unanswered requests, including uploads in progress"
    )
    max_mb_in_flight: float | None = Field(
        None, gt=0, description="MB (10^6 bytes) of all uploads in memory (default: by memory)"
    )
    min_face: float = Field(24, gt=0, description="shorter side of the smallest face, in pixels")
    detection_threshold: float = Field(
        0.9, gt=0, lt=1, description="minimum confidence of a detected face"
    )
    decoders: PositiveInt | None = Field(
        None, description="processes that decode photos (default: one more than cores)"
    )
    decode_timeout_s: float | None = Field(
        None, gt=0, le=3600, description="seconds for decoding a photo (default: by megapixels)"
    )
    decode_memory_mb: PositiveInt | None = Field(
        None, ge=64, description="MB for decoding a photo (default: by max_pixels)"
    )
    guard: bool = Field(
        True, description="do not paste a restored face that does not look like the original"
    )
    api_keys: SecretStr = Field(SecretStr(""), description="accepted API keys, comma-separated")
    api_keys_file: Annotated[Path, AfterValidator(_file)] | None = Field(
        None, description="file of API keys, one per line; lines that begin with # are comments"
    )

    cors_origins: str = Field(
        "", description="origins of pages that may call the API, comma-separated; * for all"
    )

    request_timeout_s: float = Field(
        30, ge=0.001, le=3600, description="seconds that a request may take"
    )
    worker_timeout_s: float = Field(
        120,
        gt=0,
        le=3600,
        description="seconds after which a batch, or finding a photo's faces, counts as hung",
    )
    keep_alive_s: float = Field(
        75, gt=0, le=3600, description="seconds after which an idle connection is closed"
    )
    drain_s: float = Field(
        10,
        ge=0,
        le=3600,
        description="seconds of service after SIGTERM, during which /health answers 503",
    )

    @model_validator(mode="after")
    def _queue_holds_a_photo(self) -> Self:
        if self.queue_faces < self.max_faces:
            raise ValueError(
                f"queue_faces ({self.queue_faces}) is less than max_faces ({self.max_faces}): "
                "a photo of that many faces could never be restored"
            )
        return self

    @model_validator(mode="after")
    def _a_photo_fits_in_flight(self) -> Self:
        if self.max_mb_in_flight is not None and self.max_bytes_in_flight < self.max_body_bytes:
            raise ValueError(
                f"max_mb_in_flight ({self.max_mb_in_flight:g}) is not more than max_upload_mb "
                f"({self.max_upload_mb:g}): the largest photo could never be accepted"
            )
        return self

    @model_validator(mode="after")
    def _keys_are_keys(self) -> Self:
        try:
            keys = self.keys
        except OSError as error:
            raise ValueError(f"api_keys_file: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ValueError("api_keys_file: it is not UTF-8 text") from error
        if any(len(key) < _SHORTEST_KEY or not _can_be_sent(key) for key in keys):
            raise ValueError(
                f"an API key must have at least {_SHORTEST_KEY} printable ASCII characters"
            )
        return self

    @property
    def limits(self) -> Limits:
        return Limits(
            self.max_pixels,
            self.max_output_pixels,
            self.max_faces,
            self.min_face,
            self.detection_threshold,
        )

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The API keys from both settings; if there are none, no key is required.

        The file is read once, so emptying it later does not open the service.  Raises OSError,
        ValueError.
        """
        keys: tuple[str, ...] = ()
        if "api_keys" in self.model_fields_set:  # though it be empty: somebody wants keys
            keys += _keys_in(self.api_keys.get_secret_value().replace(",", "\n"))
        if self.api_keys_file is not None:
            keys += _keys_in(self.api_keys_file.read_text("utf-8"))
        return keys

    @property
    def allowed_origins(self) -> list[str]:
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]

    @model_validator(mode="after")
    def _origins_are_origins(self) -> Self:
        for origin in self.allowed_origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
                raise ValueError(f"{origin!r} is neither an origin like https://example.com nor *")
        return self

    @property
    def max_upload_bytes(self) -> int:
        return int(self.max_upload_mb * 1_000_000)

    @property
    def max_body_bytes(self) -> int:
        return self.max_upload_bytes + _FORM_OVERHEAD

    @property
    def max_bytes_in_flight(self) -> int:
        """0 if the limit follows from the machine's memory."""
        return int((self.max_mb_in_flight or 0) * 1_000_000)


def _keys_in(text: str) -> tuple[str, ...]:
    """The keys in a text of one key per line, without blank lines and comments (#).

    Raises ValueError if there is no key.
    """
    lines = (line.strip() for line in text.splitlines())
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise ValueError("API keys are configured but empty, so no key would be required")
    return keys


def _can_be_sent(key: str) -> bool:
    """Whether a key can be the value of an HTTP header."""
    return key.isascii() and key.isprintable()


def one_line(error: ValidationError) -> str:
    """The errors of a validation on one line, such as ``port: Input should be ...; ...``."""
    lines = []
    for item in error.errors(include_url=False):
        where = ".".join(map(str, item["loc"])) or "settings"
        lines.append(f"{where}: {item['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)


def read_settings(**flags: object) -> Settings:
    """Settings from flags and environment.  Exits with one line on stderr if they are invalid."""
    try:
        return Settings(**flags)  # type: ignore[arg-type]
    except ValidationError as error:
        sys.exit(f"error: {one_line(error)}")
