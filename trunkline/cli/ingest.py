"""`trunkline ingest`: runs the door until told to stop."""

import argparse
import asyncio
import logging
import os

from ingest.app import Ingest
from trunkline import log, service, topics
from trunkline.cli.wiring import embedded, open_stream, settings_of
from trunkline.clock import SystemClock
from trunkline.keys import Keyring
from trunkline.probe import serve
from trunkline.settings import Settings

_log = logging.getLogger("trunkline.ingest")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes sharing the port (ingest.workers)"
    )
    # How the parent of several workers starts each of them.
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    if arguments.workers is not None:
        section = settings.ingest.model_validate(
            {**settings.ingest.model_dump(), "workers": arguments.workers}
        )
        settings = settings.model_copy(update={"ingest": section})
    keyring = Keyring.of(settings)
    if settings.ingest.workers > 1 and not arguments.worker:
        from trunkline.cli.workers import run_workers

        return run_workers(settings, arguments.config)
    return service.run(lambda stop: _ingest(settings, keyring, stop, worker=arguments.worker))


async def _ingest(
    settings: Settings, keyring: Keyring, stop: asyncio.Event, *, worker: bool
) -> int:
    clock = SystemClock()
    logs = log.start(settings.log)
    try:
        stream = open_stream(settings, clock)
        async with stream:
            if embedded(settings):
                # One machine, one file: there is nobody else whose topics these could be.
                await stream.create(topics.specs(settings.topics))
            ingest = Ingest(settings, keyring, stream, clock, logs)
            async with (
                ingest.serve(settings.ingest.bind, share_port=worker) as address,
                serve("probe.bind", settings.probe.bind, ingest.routes()) as probe,
            ):
                _log.info(
                    "listening",
                    extra={
                        "webhooks": f"http://{address}/webhooks/telnyx",
                        "probe": probe,
                        "accounts": ",".join(keyring.accounts),
                        "pid": os.getpid(),
                    },
                )
                await stop.wait()
                await ingest.retire()
        _log.info("stopped")
    finally:
        logs.stop()
    return 0
