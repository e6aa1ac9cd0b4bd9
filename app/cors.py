"""Which pages of other origins may call."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.errors import OriginNotAllowed
from app.problems import problem_response


class Cors(CORSMiddleware):
    """Starlette's, but a preflight is refused with a problem, as everything else is."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except OriginNotAllowed as error:
            await problem_response(Request(scope), error)(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code >= 400:
            raise OriginNotAllowed(bytes(response.body).decode())
        return response
