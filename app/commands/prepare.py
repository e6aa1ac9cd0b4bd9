"""``gpen prepare``: convert the generator, and measure the engines of this machine.

The service does so itself on its first start; an image or an installation can do it in advance.
"""

from __future__ import annotations

import argparse

from app.commands.flags import add_settings, settings_from
from app.commands.photos import fail
from app.log import configure_logging
from app.serving.preparation import SETTINGS


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "prepare", help="convert and measure in advance, for a fast first start"
    )
    parser.add_argument(
        "--again", action="store_true", help="repeat measurements that are cached already"
    )
    add_settings(parser, SETTINGS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure one GPU of each model, or the CPU.

    Returns the exit status: 0, or 1 with one line on stderr.
    """
    from app.engines.build import prepare  # noqa: PLC0415  (PyTorch; --help need not wait)
    from app.engines.cache import EngineCache  # noqa: PLC0415
    from app.engines.candidates import candidates, choose  # noqa: PLC0415
    from app.serving.load import choose_devices  # noqa: PLC0415
    from model.checkpoints.generator import is_onnx  # noqa: PLC0415
    from model.checkpoints.lookup import resolve  # noqa: PLC0415

    settings = settings_from(options)
    configure_logging(settings.log_level)
    try:
        resolved = resolve(settings.model, settings.weights_dir, settings.cache_dir)
        caches = [
            EngineCache.of(resolved.path, settings.cache_dir, device)
            for device in choose_devices(settings.device)
        ]
        for cache in {cache.measured: cache for cache in caches}.values():
            possible = candidates(cache.device, onnx=is_onnx(resolved.path))
            measurements = prepare(resolved.path, cache, possible, again=options.again)
            chosen = choose(possible, measurements)
            for measurement in measurements:
                print(
                    f"{measurement.engine:8s} {measurement.precision}  "
                    f"{measurement.milliseconds:8.1f} ms a face  "
                    f"{measurement.psnr:5.1f} dB from float32"
                    f"{'  <- auto' if measurement is chosen else ''}"
                )
    except (ValueError, OSError) as error:
        return fail(str(error))
    return 0
