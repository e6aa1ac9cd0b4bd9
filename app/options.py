"""The options of a request."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

FaceChoice = Literal["all", "largest", "center"]
OutputFormat = Literal["same", "png", "jpeg", "webp", "avif"]


def _number(value: object) -> object:
    """Forms and command lines contain text, which pydantic does not convert to literal numbers."""
    return int(value) if isinstance(value, str) and value in ("1", "2", "4") else value


Scale = Annotated[Literal[1, 2, 4], BeforeValidator(_number)]


class EnhanceOptions(BaseModel):
    """Options of ``POST /enhance`` and ``gpen enhance``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strength: float = Field(1.0, ge=0, le=1, description="blend of restored and original face")
    match_colour: bool = Field(
        True, description="restored faces keep the photo's colours, shadows and all"
    )
    upscale: Scale = Field(1, description="size of the output relative to the input")
    faces: FaceChoice = Field("all", description="which faces to restore")
    aligned: bool = Field(False, description="the picture is one aligned, square face crop already")
    format: OutputFormat = Field("same", description="format of the output")
    quality: int = Field(95, ge=1, le=100, description="for JPEG, WebP and AVIF")
    require_face: bool = Field(False, description="no face found is an error")
    strip_metadata: bool = Field(
        False, description="drop EXIF, XMP and IPTC (never the colour profile, nor the mark)"
    )
    mark: bool = Field(True, description="the XMP says so where a face was restored (IPTC's terms)")
