"""How much is done, and how soon the rest is refused, while ever more is asked for."""

from __future__ import annotations

from statistics import mean

from tests.load.crowds import Row, counts
from tests.soak.client import Address
from tests.soak.figures import Latency
from tests.soak.load import Load, closed_loop, open_loop
from tests.soak.photos import kinds_of_faces, photos_of

TIMES = (1, 2, 4)
"""The capacity: what the best number of clients in a closed loop gets done."""
_CLIENTS = (2, 4, 8)
_SIDE = 160  # pixels: clients that cost little beside the server
_FACES = 24
_ROUNDS = 2
_CALM_S = 8.0
_LOAD_S = 14.0
_RAMP_S = 6.0  # in which the queue grows to its length


async def goodput(address: Address, _pid: int) -> Row:
    """Alternate between capacity and its multiples: a shared machine is not always as fast."""
    photos = await photos_of(address, kinds_of_faces(_FACES, [_SIDE]))
    found = {n: await closed_loop(address, photos, n, _CALM_S) for n in _CLIENTS}
    clients = max(found, key=lambda n: found[n].goodput(_CALM_S / 4))
    best: list[float] = []
    loads: dict[int, list[Load]] = {times: [] for times in TIMES}
    for seed in range(_ROUNDS):
        for times in TIMES:
            calm = await closed_loop(address, photos, clients, _CALM_S)
            best.append(calm.goodput(_CALM_S / 4))
            rate = times * best[-1]
            loads[times].append(await open_loop(address, photos, rate, _LOAD_S, seed))
    row = {"capacity": f"{mean(best):.1f} a second"}
    for times, rounds in loads.items():
        share = mean(load.goodput(_RAMP_S) for load in rounds) / mean(best)
        answers = [exchange.answer for load in rounds for exchange in load.exchanges]
        refused = [answer.seconds for answer in answers if answer.status == 503]
        row |= {
            f"{times}x: goodput": f"{share:.2f} of capacity",
            f"{times}x: answers": counts(answers),
            f"{times}x: refused after": str(Latency.of(refused)),
        }
    return row
