"""What nginx lets in, and what it logs of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import free_port
from tests.deployment.balanced import CONFIGURATION, Balancer, balancing
from tests.load.replicas import stand_in
from tests.soak.client import Answer, Message, ask, connected, form, message

pytestmark = pytest.mark.deployment

_BEHIND_ANOTHER = "set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; geo $private"
"""As the commented lines have it."""


@contextlib.contextmanager
def balanced(folder: Path, *changes: tuple[str, str]) -> Iterator[tuple[Balancer, int]]:
    """nginx with changes to its configuration, and the port that its replica is to listen on."""
    text, port = CONFIGURATION.read_text(), free_port()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    with balancing(folder, [f"127.0.0.1:{port}"], text) as balancer:
        yield balancer, port


def at_once(balancer: Balancer, replica: int, messages: list[Message]) -> list[Answer]:
    async def send() -> list[Answer]:
        async with stand_in(replica):
            return await asyncio.gather(*(ask(balancer.address, each) for each in messages))

    return asyncio.run(send())


def test_a_backend_with_one_address_is_not_limited(tmp_path: Path) -> None:
    with balanced(tmp_path) as (balancer, replica):
        answers = at_once(balancer, replica, [form(b"photo")] * 300)
    assert Counter(answer.label for answer in answers) == {"200": 300}


def test_a_stranger_is_limited_by_the_address_that_is_forwarded(tmp_path: Path) -> None:
    stranger, other = (
        form(b"photo", headers={"X-Forwarded-For": address})
        for address in ("203.0.113.7", "203.0.113.8")
    )
    changes = (
        ("geo $private", _BEHIND_ANOTHER),
        ("limit_conn clients 200", "limit_conn clients 4"),
    )
    with balanced(tmp_path, *changes) as (balancer, replica):
        answers = at_once(balancer, replica, [stranger] * 10 + [other] * 4)
        clients = Counter(line["client"] for line in _lines(balancer))
    assert Counter(answer.status for answer in answers[:10]) == {200: 4, 429: 6}
    assert [answer.status for answer in answers[10:]] == [200] * 4
    assert clients == {"203.0.113.7": 10, "203.0.113.8": 4}


def test_the_lines_for_another_balancer_are_there() -> None:
    text = CONFIGURATION.read_text()
    for directive in ("set_real_ip_from", "real_ip_header X-Forwarded-For", "real_ip_recursive on"):
        assert f"# {directive}" in text


def test_large_bodies_are_let_in_as_far_as_there_is_room(tmp_path: Path) -> None:
    large, small = form(bytes(1_000_000)), form(bytes(900_000))
    unknown = message(
        "POST", "/enhance", b"3\r\nabc\r\n0\r\n\r\n", {"Transfer-Encoding": "chunked"}
    )

    async def send(balancer: Balancer, replica: int) -> list[Answer]:
        async with (
            stand_in(replica),
            connected(balancer.address) as one,
            connected(balancer.address) as two,
        ):
            for connection in (one, two):  # bodies on their way take a place, too
                connection.send(large.head + large.body[:1000])
            await asyncio.sleep(0.2)
            return [await ask(balancer.address, each) for each in (large, unknown, small)]

    with balanced(tmp_path, ("large_bodies 100;", "large_bodies 2;")) as (balancer, replica):
        answers = asyncio.run(send(balancer, replica))
    assert [answer.status for answer in answers] == [429, 429, 200]
    assert "retry-after" in answers[0].headers


def test_control_characters_in_a_path_go_no_further(tmp_path: Path) -> None:
    paths = ("/metrics%0A", "/enhance%0A", "/health%00", "/health%7F")
    with balanced(tmp_path) as (balancer, replica):
        answers = at_once(balancer, replica, [message("GET", path) for path in paths])
    assert [answer.status for answer in answers] == [400] * 4


def _lines(balancer: Balancer) -> list[dict[str, str]]:
    lines = [line for line in balancer.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in map(json.loads, lines) if line["path"] == "/enhance"]
