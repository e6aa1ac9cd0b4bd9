"""``gpen prepare``: convert the generator, and measure the engines of this machine.

The service does it by itself when it has not been done; an image, or an install, may do it before.
"""

from __future__ import annotations

import argparse

from app.commands.flags import add_settings, settings_from
from app.commands.photos import fail
from app.log import configure_logging
from app.serving.preparation import SETTINGS


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("prepare", help="make the first start a fast one")
    parser.add_argument(
        "--again", action="store_true", help="measure once more what has been measured before"
    )
    add_settings(parser, SETTINGS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Exit status: 0, or 1 with one line on stderr."""
    from app.engines.build import prepare  # noqa: PLC0415  (PyTorch; --help need not wait)
    from app.engines.cache import EngineCache  # noqa: PLC0415
    from app.engines.candidates import candidates, choose  # noqa: PLC0415
    from app.serving.load import choose_devices  # noqa: PLC0415
    from model.checkpoints.lookup import resolve  # noqa: PLC0415

    settings = settings_from(options)
    configure_logging(settings.log_level)
    try:
        device = choose_devices(settings.device)[0]
        resolved = resolve(settings.model, settings.weights_dir, settings.cache_dir)
        cache = EngineCache.of(resolved.path, settings.cache_dir, device)
        wanted = candidates(device)
        measurements = prepare(resolved.path, cache, wanted, again=options.again)
    except (ValueError, OSError) as error:
        return fail(str(error))
    chosen = choose(wanted, measurements)
    for measurement in measurements:
        print(
            f"{measurement.engine:8s} {measurement.precision}  "
            f"{measurement.milliseconds:8.1f} ms a face  {measurement.psnr:5.1f} dB from float32"
            f"{'  <- auto' if measurement is chosen else ''}"
        )
    return 0
