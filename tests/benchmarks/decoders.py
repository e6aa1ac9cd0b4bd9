"""What it costs to decode in processes of their own: with and without, by turns, in one run.

    python -m tests.benchmarks.decoders [--seconds 20]

Prints the milliseconds that a request takes (find, restore, finish: all but HTTP), and requests a
second, of a small JPEG at 1 and 8 at a time and of one of 12 megapixels.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO

import torch
from PIL import Image
from skimage.data import astronaut

from app.cores import core_count
from app.faces.pipeline import Decode, find, finish, measure_work
from app.faces.restore import restore_all
from app.imaging.decode import decode, measure
from app.options import EnhanceOptions
from app.serving.decoders import decoder_pool
from app.serving.load import load
from app.settings import Settings


@dataclass
class Way:
    """To decode, and the seconds that requests have taken."""

    measure: Callable[[bytes, int], int]
    decode: Decode
    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0


def jpeg(width: int, height: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(astronaut()).resize((width, height)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20, help="for each of the three kinds")
    seconds = parser.parse_args().seconds
    settings, options = Settings(model="gpen-starter-256"), EnhanceOptions()
    loaded, limits = load(settings), settings.limits
    torch.set_num_threads(1)

    restoring = threading.Lock()

    def request(data: bytes, way: Way) -> None:
        began = time.perf_counter()
        measure_work(data, options, limits, way.measure)
        found = find(data, options, limits, loaded.detector, loaded.restorer, decode=way.decode)
        with restoring:  # as the service's one worker does
            crops = restore_all(loaded.restorer, found.crops, loaded.max_batch)
        finish(found, crops, options)
        way.seconds.append(time.perf_counter() - began)

    kinds = (("512 px", jpeg(512, 512), 1), ("512 px", jpeg(512, 512), 8))
    with decoder_pool(settings, core_count()) as pool:
        for name, data, at_once in (*kinds, ("12 MP", jpeg(4000, 3000), 1)):
            ways = {"here": Way(measure, decode), "apart": Way(pool.measure, pool.decode)}
            # as many threads as the service has
            with ThreadPoolExecutor(min(at_once, core_count())) as threads:
                for way in ways.values():
                    list(threads.map(request, [data] * at_once, [way] * at_once))
                    way.seconds.clear()
                end = time.perf_counter() + seconds
                while time.perf_counter() < end:
                    for way in ways.values():
                        began = time.perf_counter()
                        list(threads.map(request, [data] * at_once, [way] * at_once))
                        way.elapsed += time.perf_counter() - began
            here, apart = (statistics.median(way.seconds) for way in ways.values())
            rates = {label: len(way.seconds) / way.elapsed for label, way in ways.items()}
            print(
                f"{name}, {at_once} at a time: {1000 * here:.1f} ms here, "
                f"{1000 * (apart - here):+.1f} ms apart; requests a second "
                f"{rates['here']:.2f} and {rates['apart']:.2f}: "
                f"{rates['apart'] / rates['here']:.1%}; n={len(ways['here'].seconds)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
