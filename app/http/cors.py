"""Decides which pages of other origins may call the API (CORS)."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from app.errors import OriginNotAllowed
from app.http.problems import problem_response


class Cors(CORSMiddleware):
    """Starlette's CORS middleware, but preflights are answered as the Fetch standard describes.

    The answer lists the allowed methods and headers, and the browser decides whether those that the
    page wants are among them.  Only an origin that may not call at all is refused, with a problem
    like all other errors.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except OriginNotAllowed as error:
            await problem_response(Request(scope), error)(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        origin = request_headers["origin"]
        if not self.is_allowed_origin(origin):
            raise OriginNotAllowed("Pages of this origin may not call.")
        allowed = {} if self.allow_all_origins else {"Access-Control-Allow-Origin": origin}
        return PlainTextResponse("OK", 200, {**self.preflight_headers, **allowed})
