"""Checks API keys, if there are any."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import Unauthorized
from app.http.paths import is_docs, is_page, is_probe, route_path
from app.http.problems import problem_response


class ApiKeys:
    """Refuses requests without one of the keys, before the body is read.

    A key is sent as ``X-API-Key`` or ``Authorization: Bearer``.  Probes, the demo page and the
    documentation are exempt: the pages hold nothing secret, and a browser has no key before a page
    has asked for it.  The requests that the pages send need a key.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self.app = app
        self.keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(route_path(scope)) or self._knows(scope):
            await self.app(scope, receive, send)
            return
        error = Unauthorized("Send an API key as X-API-Key, or as Authorization: Bearer.")
        await problem_response(Request(scope), error)(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        given = headers.get("x-api-key")
        if given is None:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            given = token.strip() if scheme.lower() == "bearer" else ""
        # every key is compared, in constant time, so that timing reveals nothing about a guess
        matches = [hmac.compare_digest(given.encode(), key) for key in self.keys]
        return any(matches)


def _is_open(path: str) -> bool:
    return is_probe(path) or is_page(path) or is_docs(path)
