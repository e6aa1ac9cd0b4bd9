"""Requests that cannot be served, and the one status that each must get."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

import numpy as np

from tests.pictures import png_of
from tests.soak.client import BOUNDARY, MULTIPART, Answer, Message, file_part, form, message
from tests.soak.photos import encoded

PROBLEM = "application/problem+json"
_PROBLEM_KEYS = {"type", "title", "status", "detail", "request_id"}


@dataclass(frozen=True)
class BadRequest:
    name: str
    message: Message
    status: int

    def fault(self, answer: Answer) -> str | None:
        if answer.status != self.status:
            return f"{self.name}: {answer.label} instead of {self.status}"
        return problem_fault(answer)


@cache
def bad_requests() -> tuple[BadRequest, ...]:
    grain = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    jpeg, png = encoded(grain, "JPEG"), encoded(grain, "PNG")
    breaks_off = message("POST", "/enhance", file_part() + png, {"Content-Type": MULTIPART})
    nonsense = f"--{BOUNDARY}\r\nnonsense\r\n--{BOUNDARY}--".encode()
    no_form = message("POST", "/enhance", b'{"file": 1}', {"Content-Type": "application/json"})
    return (
        BadRequest("text", form(b"no picture at all"), 415),
        BadRequest("empty file", form(b""), 422),
        BadRequest("truncated JPEG", form(jpeg[: len(jpeg) // 2]), 422),
        BadRequest("bomb", form(png_of(30_000, 30_000)), 413),
        BadRequest("strength out of range", form(png, {"strength": "1.5"}), 422),
        BadRequest("unknown option", form(png, {"strenght": "1"}), 422),
        BadRequest("no face where one is required", form(png, {"require_face": "true"}), 422),
        BadRequest("no form", no_form, 400),
        BadRequest("form that breaks off", breaks_off, 400),
        BadRequest(
            "nonsense for a form",
            message("POST", "/enhance", nonsense, {"Content-Type": MULTIPART}),
            400,
        ),
        BadRequest("wrong method", message("GET", "/enhance"), 405),
        BadRequest("unknown path", message("GET", "/nowhere"), 404),
        BadRequest("nonsense for a timeout", form(png, headers={"X-Request-Timeout": "soon"}), 422),
    )


def problem_fault(answer: Answer) -> str | None:
    """What is wrong with an error's form (RFC 9457), or None."""
    status = answer.status
    if answer.headers.get("content-type") != PROBLEM:
        return f"{status} is {answer.headers.get('content-type')}"
    try:
        problem = json.loads(answer.body)
    except ValueError:
        return f"{status} is no JSON"
    if not isinstance(problem, dict) or problem.keys() != _PROBLEM_KEYS:
        return f"{status} has not the members of a problem"
    if problem["status"] != status or not problem["detail"]:
        return f"{status} says {problem['status']}, {problem['detail']!r}"
    if problem["request_id"] != answer.headers.get("x-request-id"):
        return f"{status} has two request ids"
    if status == 503 and not answer.headers.get("retry-after", "").isdecimal():
        return "503 without Retry-After"
    return None


def refusal_fault(answer: Answer, allowed: tuple[int, ...]) -> str | None:
    """What is wrong with an answer that is none of 200, or None: 503 and 504 may be right."""
    if answer.status not in allowed:
        return f"unexpected: {answer.label}"
    return problem_fault(answer)
