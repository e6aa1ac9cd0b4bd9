"""Measures what a request costs on this machine, before the first one arrives."""

from __future__ import annotations

import time
from concurrent.futures import Future
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from app.cores import core_count
from app.deadline import NEVER
from app.engines.samples import PHOTO
from app.faces.detect import FINE_PIXELS
from app.faces.pipeline import Decode, Enhanced, find, finish
from app.options import EnhanceOptions
from app.serving.admission import Cost
from app.serving.load import Loaded
from app.settings import Limits
from app.threads import Timed, WatchedPool

_SIDE = 1024  # pixels
_PHOTOS_PER_CORE = 2


def rehearse(loaded: Loaded, limits: Limits, threads: int, decode: Decode) -> Cost:
    """Restore a sample photo several times in parallel, as requests do under load.

    Timing the generator alone would underestimate the cost: most of a request's time goes into
    decoding, detecting, pasting and encoding, which compete with it for the cores.  ``threads`` is
    how many the generator may use; it runs in the caller's thread.  ``decode`` is the service's.
    Later requests correct this first estimate (:class:`app.serving.admission.Admission`).
    """
    data, options = _sample(), EnhanceOptions()
    cores = core_count()
    count = _PHOTOS_PER_CORE * cores
    restorer = loaded.restorer
    torch.set_num_threads(threads)  # of this thread
    with WatchedPool(cores, "gpen-rehearse") as finding, WatchedPool(cores, "gpen-rehearse") as end:
        start = time.perf_counter()
        reading = [
            finding.submit_timed(
                find, data, options, limits, loaded.detector, restorer, NEVER, decode
            )
            for _ in range(count)
        ]
        restoring = detecting = others = 0.0
        finishing: list[Future[Timed[Enhanced]]] = []
        for future in reading:
            found = future.result()
            detecting += found.result.timings.detect
            others += found.ended - found.began - found.result.timings.detect
            began = time.perf_counter()
            crops = list(restorer(np.stack(found.result.crops))) if found.result.crops else []
            restoring += threads * (time.perf_counter() - began)
            finishing.append(
                end.submit_timed(
                    finish, found.result, crops, options, NEVER, None, loaded.guard, loaded.parser
                )
            )
        others += sum(done.result().ended - done.result().began for done in finishing)
        seconds = (time.perf_counter() - start) / count
    scale = seconds / (restoring + detecting + others)
    megapixels = _SIDE**2 / 1e6
    return Cost(
        photo=scale * restoring,
        megapixel=scale * others / megapixels,
        searched=scale * detecting / megapixels,
        most_searched=FINE_PIXELS / 1e6,
    )


def _sample() -> bytes:
    """The sample photo enlarged to a megapixel, as a JPEG of about 200 kB."""
    with Image.open(PHOTO) as image:
        photo = image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    photo.save(buffer, "JPEG", quality=94)
    return buffer.getvalue()
