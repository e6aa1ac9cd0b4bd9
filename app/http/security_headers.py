"""Headers that restrict what a browser does with an answer."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.paths import is_docs_page, is_page, route_path

_POLICY = "Content-Security-Policy"
_HEADERS = {
    _POLICY: "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_DOCS = {  # Swagger UI's icons are data: URLs in its style sheet; it shows pictures as blob: URLs
    **_HEADERS,
    _POLICY: (
        "default-src 'none'; connect-src 'self'; frame-ancestors 'none'; "
        "img-src 'self' blob: data:; script-src 'self'; style-src 'self'"
    ),
}
_DEMO = {  # for all files, because the page's worker has the policy of its own file
    **_HEADERS,
    _POLICY: (
        "default-src 'none'; base-uri 'none'; connect-src 'self'; form-action 'none'; "
        "frame-ancestors 'none'; img-src 'self' blob:; script-src 'self'; style-src 'self'; "
        "worker-src 'self'"
    ),
    "Permissions-Policy": "camera=(self), display-capture=(), geolocation=(), microphone=()",
}


class SecurityHeaders:
    """Adds headers that keep answers from being sniffed, framed or run; pages have other ones."""

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
