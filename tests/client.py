"""What a client of the service does, and what it may expect."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import Server

TIMEOUT = 120


def enhance(
    server: Server, data: bytes, headers: dict[str, str] | None = None, **options: Any
) -> httpx2.Response:
    return httpx2.post(
        f"{server.url}/enhance",
        files={"file": ("photo", data)},
        data={key: str(value) for key, value in options.items()},
        headers=headers,
        timeout=TIMEOUT,
    )


def pixels(response: httpx2.Response) -> NDArray[np.uint8]:
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(BytesIO(response.content)))


def assert_problem(response: httpx2.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem.keys() == {"type", "title", "status", "detail", "request_id"}
    assert problem["detail"]
    assert not re.search(r"Traceback|File \"|\.py", response.text)
    return problem
