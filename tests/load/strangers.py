"""What one request can take of a server's memory and attention."""

from __future__ import annotations

import asyncio

from tests.load.crowds import Row
from tests.load.photos import SlowReader, noise
from tests.soak.client import MULTIPART, Address, connected, file_part, message
from tests.soak.figures import Latency
from tests.soak.watch import resident_mb, watched_health, watched_memory

_PIECE = bytes(64 * 1024)
_BODY = 500_000_000  # bytes
_SIDE = 2950  # pixels, of noise; enlarged twice they make 100 MB
_SLOW = 1_000_000  # bytes a second
_SETTLED_S = 3.0


async def around_the_gate(address: Address, pid: int) -> Row:
    """A body to a path that a router may take for /enhance, and a gate not."""
    before, sent = resident_mb(pid), 0
    headers = {"Content-Type": MULTIPART, "Transfer-Encoding": "chunked"}
    async with watched_memory(pid, pause=0.1) as memory, connected(address) as connection:
        connection.send(message("POST", "/enhance%0A", headers=headers).head)
        for piece in (file_part(), *[_PIECE] * (_BODY // len(_PIECE))):
            if not await connection.writable():
                break
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            sent += len(piece)
            await asyncio.sleep(0)
        connection.send(b"0\r\n\r\n")
        answer = await connection.answer()
    return {
        "answer": answer.label,
        "sent": f"{sent / 1e6:.0f} MB",
        "memory": f"+{max(0.0, (memory.most or before) - before):.0f} MB",
    }


async def large_json(address: Address, pid: int) -> Row:
    """The same answer in both forms: what it holds while it is read, and who waits for it."""
    row: Row = {}
    await _held(address, pid, "image/png")  # what is kept from the first one on is not its own
    for name, accept in (("picture", "image/png"), ("JSON", "application/json")):
        held, health = await _held(address, pid, accept)
        row[f"{name}: memory while it is read"] = f"+{held:.0f} MB"
        row[f"{name}: /health meanwhile"] = str(health)
    return row


async def _held(address: Address, pid: int, accept: str) -> tuple[float, Latency]:
    """MB that an answer adds while it is read slowly, and how long /health took until then."""
    before = resident_mb(pid)
    request = noise(_SIDE, upscale="2").with_header("Accept", accept)
    async with watched_health(address) as health:
        reader = SlowReader(address, request, _SLOW)
        await reader.begun()
        await asyncio.sleep(_SETTLED_S)
    held = resident_mb(pid) - before
    await reader.give_up()
    await asyncio.sleep(_SETTLED_S)
    return held, Latency.of(health.seconds)
