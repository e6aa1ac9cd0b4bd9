"""Checks the head of a request before anything else sees it."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import InvalidHead
from app.http.problems import problem_response

MAX_HEADERS = 100
"""Browsers send about 20, and proxies add a few.  Every look-up searches through all of them."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Edge:
    """Refuses heads that no honest client sends, and removes cookies.

    Components may disagree on a path with a control character: a regular expression's ``$``, for
    example, also matches before a line break at the end.  So such paths are refused.

    The service does not use cookies, but FastAPI parses them for every route, and in Python before
    3.11.10 that takes time quadratic in the number of backslashes (CVE-2024-7592).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            _check(scope)
        except InvalidHead as error:
            await problem_response(Request(scope), error)(scope, receive, send)
            return
        scope["headers"] = [header for header in scope["headers"] if header[0] != b"cookie"]
        await self.app(scope, receive, send)


def _check(scope: Scope) -> None:
    """Raises InvalidHead."""
    if _CONTROL.search(scope["path"]):
        raise InvalidHead("The path holds a control character.")
    if len(scope["headers"]) > MAX_HEADERS:
        raise InvalidHead(f"The request has more than {MAX_HEADERS} headers.")
