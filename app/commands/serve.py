"""``gpen serve``: the service, by uvicorn."""

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
    # no abbreviations: --api-keys, which is none, would be one of --api-keys-file
    parser = subparsers.add_parser("serve", help="run the HTTP service", allow_abbrev=False)
    add_settings(parser, Settings.model_fields)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from app.main import create_app  # noqa: PLC0415  (PyTorch takes seconds; --help need not wait)
    from app.serving.service import LOADING  # noqa: PLC0415

    settings = settings_from(options)
    configure_logging(settings.log_level, settings.log_format)
    _allow_connections()
    _compute_undisturbed()
    # uvicorn raises the signal that ended it once more, for whoever had a handler before
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http=TimedConnection,
        log_config=None,  # ours
        access_log=False,  # ours too
        timeout_keep_alive=math.ceil(settings.keep_alive_s),
        timeout_graceful_shutdown=math.ceil(settings.request_timeout_s) + 1,
    )
    try:
        server = LosslessServer(config)
        server.run(sockets=[config.bind_socket()])  # which logs the address
        status = 0 if server.started else STARTUP_FAILURE
    except KeyboardInterrupt:  # it has shut down as for SIGTERM
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    if any(thread.name == LOADING for thread in threading.enumerate()):
        # native code that outlives the interpreter would end the process by an abort
        logging.shutdown()
        os._exit(status)
    return status


def _compute_undisturbed() -> None:
    """Under Linux, a thread that wakes waits for the one at work to end its few milliseconds.

    Else each request that comes interrupts a network: in an overload, where most are refused, that
    cost 2 to 4% of the throughput.  On an idle core it makes no difference.
    """
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _allow_connections() -> None:
    """Each connection is an open file, and the usual limit of 1024 is soon reached."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
