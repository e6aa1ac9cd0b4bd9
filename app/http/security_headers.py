"""What a browser is told not to do with an answer."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.page import is_page
from app.http.paths import is_docs_page, route_path

_POLICY = "Content-Security-Policy"
_HEADERS = {
    _POLICY: "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_DOCS = {  # Swagger UI has its icons in its style sheet, and shows pictures from memory
    **_HEADERS,
    _POLICY: (
        "default-src 'none'; connect-src 'self'; frame-ancestors 'none'; "
        "img-src 'self' blob: data:; script-src 'self'; style-src 'self'"
    ),
}
_DEMO = {  # all of it: the page's worker answers to the policy that its own file comes with
    **_HEADERS,
    _POLICY: (
        "default-src 'none'; base-uri 'none'; connect-src 'self'; form-action 'none'; "
        "frame-ancestors 'none'; img-src 'self' blob:; script-src 'self'; style-src 'self'; "
        "worker-src 'self'"
    ),
    "Permissions-Policy": "camera=(self), display-capture=(), geolocation=(), microphone=()",
}


class SecurityHeaders:
    """Adds the headers that keep answers from being sniffed, framed or run; pages have their own
    policy.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        path = route_path(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _headers(path).items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _headers(path: str) -> dict[str, str]:
    if is_page(path):
        return _DEMO
    return _DOCS if is_docs_page(path) else _HEADERS
