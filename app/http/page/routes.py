"""``GET /`` and the files that the page loads, with ETags of their content."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from werkzeug.http import parse_accept_header, parse_etags

from app.http.paths import PAGE_FILES
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


_Endpoint = Callable[[Request], Awaitable[Response]]


def page_router(settings: Settings) -> APIRouter:
    """Routes of the page in each of its languages, and of its files."""
    router = APIRouter(include_in_schema=False)
    template = (_FOLDER / "index.html").read_text("utf-8")
    pages = {
        language: _file(
            _filled(template, words, settings).encode(), "text/html", Vary="Accept-Language"
        )
        for language, words in read_words().items()
    }

    async def page(request: Request) -> Response:
        asked = request.query_params.get("lang", "")
        accepted = request.headers.get("accept-language", "")
        language = asked if asked in pages else language_of(accepted, list(pages))
        return await pages[language](request)

    router.add_api_route("/", page, methods=["GET", "HEAD"])
    for path in sorted((_FOLDER / "static").iterdir()):
        file = _file(path.read_bytes(), _MEDIA_TYPES[path.suffix])
        router.add_api_route(PAGE_FILES + path.name, file, methods=["GET", "HEAD"])
    return router


def read_words() -> dict[str, dict[str, str]]:
    """The texts of the page, by language and key."""
    words: dict[str, dict[str, str]] = json.loads((_FOLDER / "words.json").read_text("utf-8"))
    return words


def language_of(accepted: str, languages: list[str]) -> str:
    """The one of ``languages`` that an Accept-Language header prefers, else English."""
    preferred = (tag for tag, quality in parse_accept_header(accepted.lower()) if quality > 0)
    primary_tags = (tag.partition("-")[0] for tag in preferred)
    return next((tag for tag in primary_tags if tag in languages), _DEFAULT)


def _filled(template: str, words: Mapping[str, str], settings: Settings) -> str:
    """The template with its texts, and a block of JSON with all that its scripts need."""
    config = {
        "words": words,
        "maxUploadMb": settings.max_upload_mb,
        "keyWanted": bool(settings.keys),
    }
    block = json.dumps(config, ensure_ascii=False).replace("<", "\\u003c")
    filled = _WORD.sub(lambda match: html.escape(words[match[1]]), template)
    sized = filled.replace("{mb}", f"{settings.max_upload_mb:g}")
    return sized.replace("<!-- config -->", block)


def _file(body: bytes, media_type: str, **headers: str) -> _Endpoint:
    """An endpoint that sends ``body``, or 304 to clients that have it."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    # no-cache: browsers ask each time, so that they never mix files of two versions for long
    headers |= {"ETag": tag, "Cache-Control": "no-cache"}

    async def send(request: Request) -> Response:
        known = parse_etags(request.headers.get("if-none-match"))
        if known.contains_raw(f"W/{tag}"):  # proxies may have weakened it
            return Response(None, 304, headers)
        return Response(body, 200, headers, media_type)

    return send
