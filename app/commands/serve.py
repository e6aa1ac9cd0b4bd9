"""``gpen serve``: run the HTTP service with uvicorn."""

from __future__ import annotations

import argparse
import logging
import math
import os
import resource
import signal
import sys
import threading

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from app.commands.flags import add_settings, settings_from
from app.http.connections import TimedConnection
from app.http.server import LosslessServer
from app.log import configure_logging
from app.settings import Settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    # without abbreviations, because --api-keys would be read as --api-keys-file
    parser = subparsers.add_parser("serve", help="run the HTTP service", allow_abbrev=False)
    add_settings(parser, Settings.model_fields)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT.  Returns the exit status."""
    settings = settings_from(options)
    # after the settings, so that a mistake in them is reported before PyTorch, which takes seconds
    from app.main import create_app  # noqa: PLC0415
    from app.serving.service import LOADING  # noqa: PLC0415

    configure_logging(settings.log_level, settings.log_format)
    _raise_file_limit()
    _use_batch_scheduling()
    # after shutting down, uvicorn raises the signal again for the handler that was installed before
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http=TimedConnection,
        log_config=None,  # logging is configured above
        access_log=False,  # the application logs requests itself
        timeout_keep_alive=math.ceil(settings.keep_alive_s),
        timeout_graceful_shutdown=math.ceil(settings.request_timeout_s) + 1,
    )
    try:
        server = LosslessServer(config)
        server.run(sockets=[config.bind_socket()])  # bind_socket logs the address
        status = 0 if server.started else STARTUP_FAILURE
    except KeyboardInterrupt:  # uvicorn has shut down in order
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    if any(thread.name == LOADING for thread in threading.enumerate()):
        # the process would abort if native code were still running when the interpreter ends
        logging.shutdown()
        os._exit(status)
    return status


def _use_batch_scheduling() -> None:
    """On Linux, keep threads that wake up from preempting threads that compute.

    Otherwise each request interrupts a network, which cost 2 to 4% of the throughput in an
    overload, when most requests are refused.  It makes no difference on an idle core.
    """
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _raise_file_limit() -> None:
    """Allow as many open files as the system does: each connection is one, and 1024 are too few."""
    _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))
