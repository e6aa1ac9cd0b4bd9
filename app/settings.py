"""Every setting of the service, from the environment (prefix ``GPEN_``) or ``gpen serve`` flags."""

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
_FORM_OVERHEAD = 64 * 1024  # bytes: boundaries and options beside the file
_PILLOW_LIMIT = 178_000_000  # above, Pillow itself takes a picture for a decompression bomb


def _file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError(f"there is no folder {path}")
    return path


def _port(value: object) -> object:
    if isinstance(value, str) and value.startswith("tcp://"):
        raise ValueError(
            f"{value!r} is what Kubernetes sets as GPEN_PORT for a Service named gpen: give the "
            "pod enableServiceLinks: false, or the Service another name"
        )
    return value


@dataclass(frozen=True)
class Limits:
    """What bounds the work on one photo."""

    max_pixels: int
    max_output_pixels: int
    max_faces: int
    min_face: float
    """Pixels."""
    detection_threshold: float


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="GPEN_", frozen=True, extra="ignore", allow_inf_nan=False
    )

    model: str = Field("auto", description="auto, a registered name, or a file of weights")
    weights_dir: Annotated[Path, AfterValidator(_folder)] = Field(
        _BUNDLED_WEIGHTS, description="folder of weights"
    )
    cache_dir: Path = Field(
        Path(platformdirs.user_cache_dir("gpen-portrait")),
        description="downloads; the only folder written to",
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="cpu, cuda:N")
    engine: Literal["auto"] | EngineName = Field("auto", description="torch, openvino")
    precision: Literal["auto"] | Precision = Field("auto", description="fp32, bf16, fp16")

    host: str = Field("0.0.0.0", description="address to listen on")
    port: Annotated[int, BeforeValidator(_port)] = Field(
        8000, ge=1, le=65535, description="port to listen on"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="log level")
    log_format: LogFormat = Field("text", description="text, json")

    max_batch: PositiveInt | None = Field(None, description="faces a batch (by device)")
    max_wait_ms: float | None = Field(
        None, ge=0, le=1000, description="how long a batch waits to fill (by device)"
    )
    queue_faces: PositiveInt = Field(256, description="faces, or photos, that may wait")
    max_faces: PositiveInt = Field(64, description="faces restored of one photo")

    max_upload_mb: float = Field(20, gt=0, le=1024, description="MB (10^6 bytes) of a photo")
    max_pixels: PositiveInt = Field(40_000_000, le=_PILLOW_LIMIT, description="pixels of a photo")
    max_output_pixels: PositiveInt = Field(160_000_000, description="pixels of a result")
    max_pixels_in_flight: PositiveInt | None = Field(
        None, description="pixels of all photos being worked on (by memory)"
    )
    max_requests_in_flight: PositiveInt = Field(
        1000, description="requests that have not been answered, uploads included"
    )
    max_mb_in_flight: float | None = Field(
        None, gt=0, description="MB of all uploads in memory (by memory)"
    )
    decoders: PositiveInt | None = Field(
        None, description="processes in which pictures are decoded (one more than cores)"
    )
    decode_timeout_s: float | None = Field(
        None, gt=0, le=3600, description="seconds for decoding a photo (by its megapixels)"
    )
    decode_memory_mb: PositiveInt | None = Field(
        None, ge=64, description="MB that decoding a photo may take (by max_pixels)"
    )
    min_face: float = Field(24, gt=0, description="smallest face, pixels")
    detection_threshold: float = Field(0.9, gt=0, lt=1, description="confidence of a face")
    guard: bool = Field(
        True, description="leave a face as it was if its restoration does not look like it"
    )
    api_keys: SecretStr = Field(SecretStr(""), description="keys that get in, comma-separated")
    api_keys_file: Annotated[Path, AfterValidator(_file)] | None = Field(
        None, description="file of keys, one a line; lines that begin with # are none"
    )

    cors_origins: str = Field(
        "", description="origins whose pages may call, comma-separated; * for all"
    )

    request_timeout_s: float = Field(30, ge=0.001, le=3600, description="seconds for a request")
    worker_timeout_s: float = Field(
        120,
        gt=0,
        le=3600,
        description="seconds for a batch, or to find a photo's faces; then it hangs for good",
    )
    keep_alive_s: float = Field(
        75, gt=0, le=3600, description="seconds until an idle connection is closed"
    )
    drain_s: float = Field(
        10, ge=0, le=3600, description="seconds of service after SIGTERM, /health being 503"
    )

    @model_validator(mode="after")
    def _queue_holds_a_photo(self) -> Self:
        if self.queue_faces < self.max_faces:
            raise ValueError(
                f"queue_faces ({self.queue_faces}) is less than max_faces ({self.max_faces}): "
                "a crowd could never be served"
            )
        return self

    @model_validator(mode="after")
    def _a_photo_fits_in_flight(self) -> Self:
        if self.max_mb_in_flight is not None and self.max_bytes_in_flight < self.max_body_bytes:
            raise ValueError(
                f"max_mb_in_flight ({self.max_mb_in_flight:g}) is not more than max_upload_mb "
                f"({self.max_upload_mb:g}): the largest photo could never be taken in"
            )
        return self

    @model_validator(mode="after")
    def _keys_are_keys(self) -> Self:
        try:
            keys = self.keys
        except OSError as error:
            raise ValueError(f"api_keys_file: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ValueError("api_keys_file: it is no text in UTF-8") from error
        if any(len(key) < _SHORTEST_KEY or not _can_be_sent(key) for key in keys):
            raise ValueError(f"an API key has at least {_SHORTEST_KEY} ASCII characters")
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
        """Keys from both places; none means that everybody gets in.

        Read once: a file that is emptied later opens no service.  Raises OSError, ValueError.
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
                raise ValueError(f"{origin!r} is no origin, as https://example.com is, nor *")
        return self

    @property
    def max_upload_bytes(self) -> int:
        return int(self.max_upload_mb * 1_000_000)

    @property
    def max_body_bytes(self) -> int:
        return self.max_upload_bytes + _FORM_OVERHEAD

    @property
    def max_bytes_in_flight(self) -> int:
        """0: by memory."""
        return int((self.max_mb_in_flight or 0) * 1_000_000)


def _keys_in(text: str) -> tuple[str, ...]:
    """A key a line; blank lines and those that begin with # are none.

    Raises ValueError if there is no key at all.
    """
    lines = (line.strip() for line in text.splitlines())
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise ValueError("API keys are wanted, but none is given: nobody would be kept out")
    return keys


def _can_be_sent(key: str) -> bool:
    """In a header."""
    return key.isascii() and key.isprintable()


def one_line(error: ValidationError) -> str:
    """What is wrong with the settings, for a person: ``port: Input should be ...; ...``."""
    lines = []
    for item in error.errors(include_url=False):
        where = ".".join(map(str, item["loc"])) or "settings"
        lines.append(f"{where}: {item['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)


def read_settings(**flags: object) -> Settings:
    """Settings from flags and environment; ends the process with one line if they make no sense."""
    try:
        return Settings(**flags)  # type: ignore[arg-type]
    except ValidationError as error:
        sys.exit(f"error: {one_line(error)}")
