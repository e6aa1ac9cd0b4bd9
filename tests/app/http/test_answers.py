"""Large answers in JSON, through the whole application."""

from __future__ import annotations

import asyncio
import base64
import json
import tracemalloc
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from starlette.types import Message

from app.faces.detect import Face
from app.faces.pipeline import Enhanced, Timings
from app.faces.reports import FaceReport
from app.http.answers import FaceModel
from app.http.delivery import Answers
from app.imaging.encode import EncodedPicture
from app.main import create_app
from app.serving.service import Service
from app.settings import Settings
from tests.soak.client import MULTIPART, form

PICTURE = bytes(range(256)) * 80_000 + b"end"  # 20 MB; not a multiple of three
ENHANCED = Enhanced(
    'named "image":""', EncodedPicture(PICTURE, "image/png"), 3, 2, (), Timings(), None
)
PIECE = 300_000  # bytes


@dataclass
class Client:
    """Takes an answer, and notes what the service held at each of its messages."""

    answers: Answers
    keeps: bool
    headers: dict[bytes, bytes] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200
            self.headers = dict(message["headers"])
            return
        self.sizes.append(len(message["body"]))
        self.counted.append(self.answers.bytes)
        if self.keeps:
            self.parts.append(message["body"])


async def ask_for_json(monkeypatch: pytest.MonkeyPatch, *, keeps: bool) -> Client:
    async def enhance(*_: Any) -> Enhanced:
        return ENHANCED

    monkeypatch.setattr(Service, "serving", lambda _self: None)
    monkeypatch.setattr(Service, "enhance", enhance)
    app = create_app(Settings(), on_failure=lambda: None)
    app.state.service = Service(Settings(), app.state.metrics, lambda: None)
    answers: Answers = app.state.answers
    client = Client(answers, keeps)
    body = form(b"photo").body
    received: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not received:
            await asyncio.Event().wait()
        return received.pop()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/enhance",
        "raw_path": b"/enhance",
        "query_string": b"",
        "headers": [
            (b"content-type", MULTIPART.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"accept", b"application/json"),
        ],
    }
    await app(scope, receive, client.send)
    assert answers.bytes == 0
    return client


def test_a_large_picture_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    client = asyncio.run(ask_for_json(monkeypatch, keeps=True))
    whole = b"".join(client.parts)
    assert client.headers[b"content-length"] == str(len(whole)).encode()
    assert client.headers[b"content-type"] == b"application/json"
    answer = json.loads(whole)
    assert base64.b64decode(answer.pop("image"), validate=True) == PICTURE
    assert (answer["model"], answer["width"], answer["height"]) == ('named "image":""', 3, 2)


def test_it_takes_no_memory_but_a_piece_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(ask_for_json(monkeypatch, keeps=False))  # what is made once, is made
    tracemalloc.start()
    try:
        client = asyncio.run(ask_for_json(monkeypatch, keeps=False))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < len(PICTURE) / 4
    assert max(client.sizes) < PIECE
    assert min(client.counted[:-2]) > len(PICTURE)


def test_a_report_says_how_its_face_lies() -> None:
    """At 90 degrees the eyes are right of the mouth, and the left one is above the right one."""
    landmarks = np.array([[70, 40], [70, 60], [55, 50], [40, 42], [40, 58]], np.float32)
    face = Face(np.array([30, 30, 80, 70], np.float32), 0.99, landmarks)
    told = FaceModel.of(FaceReport(face, restored=True, reason=None)).model_dump()
    assert told["turn"] == 90
    assert list(told) == ["box", "score", "landmarks", "turn", "restored", "reason"]
