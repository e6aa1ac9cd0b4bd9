"""``GET /`` and the files that the page loads: all read once, revalidated by their content."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.http.page import FILES
from app.settings import Settings

_FOLDER = Path(__file__).resolve().parent
_MEDIA_TYPES = {
    ".css": "text/css",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_WORD = re.compile(r"\{\{(\w+)\}\}")
_DEFAULT = "en"


@dataclass(frozen=True)
class _Document:
    body: bytes
    media_type: str
    headers: Mapping[str, str]


def page_router(settings: Settings) -> APIRouter:
    """The page in each of its languages, and its files."""
    router = APIRouter(include_in_schema=False)
    pages = {
        language: _document(text.encode(), "text/html", Vary="Accept-Language")
        for language, text in _pages(settings).items()
    }

    async def page(request: Request) -> Response:
        asked = request.query_params.get("lang", "")
        accepted = request.headers.get("accept-language", "")
        language = asked if asked in pages else language_of(accepted, list(pages))
        return _answer(request, pages[language])

    router.add_api_route("/", page, methods=["GET", "HEAD"])
    for path in sorted((_FOLDER / "static").iterdir()):
        document = _document(path.read_bytes(), _MEDIA_TYPES[path.suffix])
        router.add_api_route(FILES + path.name, _file(document), methods=["GET", "HEAD"])
    return router


def read_words() -> dict[str, dict[str, str]]:
    """What the page says, by language and key."""
    words: dict[str, dict[str, str]] = json.loads((_FOLDER / "words.json").read_text("utf-8"))
    return words


def language_of(accepted: str, languages: list[str]) -> str:
    """The best of ``languages`` by an Accept-Language header (RFC 9110, 12.5.4), else English."""
    wanted: list[tuple[float, str]] = []
    for part in accepted.lower().split(","):
        tag, _, parameters = part.partition(";")
        quality = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", parameters)
        wanted.append((float(quality[1]) if quality else 1.0, tag.strip().partition("-")[0]))
    for quality_value, language in sorted(wanted, key=lambda item: -item[0]):
        if language in languages and quality_value > 0:
            return language
    return _DEFAULT


def _pages(settings: Settings) -> dict[str, str]:
    template = (_FOLDER / "index.html").read_text("utf-8")
    return {
        language: _filled(template, words, settings) for language, words in read_words().items()
    }


def _filled(template: str, words: Mapping[str, str], settings: Settings) -> str:
    """The template with its words in place, and all that its scripts need as a block of JSON."""
    config = {
        "words": words,
        "maxUploadMb": settings.max_upload_mb,
        "keyWanted": bool(settings.keys),
    }
    block = json.dumps(config, ensure_ascii=False).replace("<", "\\u003c")
    filled = _WORD.sub(lambda match: html.escape(words[match[1]]), template)
    sized = filled.replace("{mb}", f"{settings.max_upload_mb:g}")
    return sized.replace("<!-- config -->", block)


def _document(body: bytes, media_type: str, **headers: str) -> _Document:
    # no-cache: ask each time, mostly to hear 304; replicas of two versions then never mix for long
    validators = {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    return _Document(body, media_type, {**validators, **headers})


def _file(document: _Document) -> Callable[[Request], Coroutine[None, None, Response]]:
    async def file(request: Request) -> Response:
        return _answer(request, document)

    return file


def _answer(request: Request, document: _Document) -> Response:
    known = request.headers.get("if-none-match", "").split(",")
    if document.headers["ETag"] in (tag.strip().removeprefix("W/") for tag in known):
        return Response(None, 304, document.headers)
    return Response(document.body, 200, document.headers, document.media_type)
