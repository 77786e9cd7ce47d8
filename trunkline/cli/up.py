"""`trunkline up`: the door, its stream, traffic to see, and a page, in one process on loopback."""

import argparse
import asyncio
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

from ingest.app import Ingest
from trunkline import __version__, log, service, topics
from trunkline.cli.wiring import embedded, open_stream, settings_of, sqlite_path
from trunkline.clock import SystemClock
from trunkline.config import mask_url
from trunkline.console import pages
from trunkline.console.board import Board
from trunkline.console.state import Addresses
from trunkline.errors import Misconfigured
from trunkline.keys import DevelopmentKey, Keyring, PublicKey
from trunkline.log import Log
from trunkline.probe import serve
from trunkline.service import until
from trunkline.settings import AccountSection, PublicKeyEntry, Section, Settings
from trunkline.stream import Stream
from trunkline.traffic.script import Script
from trunkline.traffic.sender import RATE_MAX, Sender

ACCOUNT = "development"
_PATH = "/webhooks/telnyx"
_VARIABLES = {
    f"{section}.bind": f"TRUNKLINE_{section.upper()}_BIND"
    for section in ("ingest", "probe", "console")
}
S = TypeVar("S", bound=Section)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--rate", type=_rate, default=20.0, metavar="N", help="synthetic webhooks a second (20)")
    add("--no-traffic", action="store_true", help="only what others send")
    add("--seed", type=int, default=None, help="the same traffic again")
    add("--quiet", action="store_true", help="no log line a second")
    add("--seconds", type=float, metavar="N", help="end by itself")


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate <= RATE_MAX:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most {RATE_MAX:g}")
    return rate


def run(arguments: argparse.Namespace) -> int:
    # Born here and told to nobody: no other process can ever accept what it signs.
    key = DevelopmentKey()
    settings = at_home(settings_of(arguments), key.public)
    keyring = Keyring.of(settings)
    try:
        return service.run(lambda stop: _up(settings, keyring, key, arguments, stop))
    except Misconfigured as error:
        if error.setting not in _VARIABLES:
            raise
        raise Misconfigured(
            error.setting,
            f"{error.problem}; {_VARIABLES[error.setting]}=127.0.0.1:PORT chooses another address",
        ) from None


def at_home(settings: Settings, key: PublicKey) -> Settings:
    """The settings as given, and where nothing was given, what suits one machine.

    Nothing is exposed to a network, nobody waits for a load balancer to notice that we stop, and
    the forgeries that we send ourselves are counted and shown, but not warned of.
    """
    if any(account.name == ACCOUNT for account in settings.accounts):
        raise Misconfigured("accounts", f"{ACCOUNT!r} is the account of `up` itself, rename yours")
    own = AccountSection(name=ACCOUNT, public_key=(PublicKeyEntry(key=key.text),))
    return settings.model_copy(
        update={
            "accounts": (*settings.accounts, own),
            "ingest": _unless_set(settings.ingest, bind="127.0.0.1:8080", drain_delay_seconds=0.0),
            "probe": _unless_set(settings.probe, bind="127.0.0.1:9090"),
            "log": _unless_set(settings.log, refusals_per_second_max=0),
        }
    )


def _unless_set(section: S, **values: object) -> S:
    unset = {name: value for name, value in values.items() if name not in section.model_fields_set}
    return section.model_copy(update=unset)


async def _up(
    settings: Settings,
    keyring: Keyring,
    key: DevelopmentKey,
    arguments: argparse.Namespace,
    stop: asyncio.Event,
) -> int:
    logs = log.start(settings.log)
    try:
        async with open_stream(settings, SystemClock()) as stream:
            if embedded(settings):
                await stream.create(topics.specs(settings.topics))
            await _serve(settings, keyring, key, arguments, stream, logs, stop)
    finally:
        logs.stop()
    return 0


async def _serve(
    settings: Settings,
    keyring: Keyring,
    key: DevelopmentKey,
    arguments: argparse.Namespace,
    stream: Stream,
    logs: Log,
    stop: asyncio.Event,
) -> None:
    clock = SystemClock()
    ingest = Ingest(settings, keyring, stream, clock, logs)
    names = [settings.topics.prefix + name for name in topics.INGESTED]
    path = sqlite_path(settings.stream.partition("://")[2]) if embedded(settings) else None
    where = mask_url(settings.stream) if path is None else str(path.resolve())
    board = Board(ingest, stream, names, where, path, clock)
    if path is not None:
        await board.newest.open()  # before the door, so that the page shows the first event too
    console = settings.console.bind
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        door = await enter(ingest.serve(settings.ingest.bind))
        probe = await enter(serve("probe.bind", settings.probe.bind, ingest.routes()))
        page = await enter(
            serve("console.bind", console, pages.routes(board.state), pages.hosts(console))
        )
        board.addresses = Addresses(f"{pages.url(door)}{_PATH}", pages.url(probe))
        print(_banner(board.addresses.door, where, keyring, pages.url(page) or page), flush=True)
        async with asyncio.TaskGroup() as group:
            start = group.create_task
            if not arguments.no_traffic:
                sender = board.sender = _sender(door, clock)
                script = _script(key, arguments.seed)
                start(_traffic(ingest, sender, script, arguments.rate, stop), name="traffic")
            if arguments.seconds is not None:
                start(_end(stop, arguments.seconds), name="end")
            start(board.newest.follow(stop), name="newest")
            start(board.watch(stop, quiet=arguments.quiet), name="board")
        await ingest.retire()
        await board.look(quiet=arguments.quiet)


def _script(key: DevelopmentKey, seed: int | None) -> Script:
    chosen = int.from_bytes(os.urandom(4)) if seed is None else seed
    return Script(chosen, key, DevelopmentKey())


def _sender(door: str, clock: SystemClock) -> Sender:
    target = pages.url(door)
    assert target is not None
    host, _, port = target.removeprefix("http://").rpartition(":")
    return Sender(host.strip("[]"), int(port), f"{_PATH}/{ACCOUNT}", clock)


async def _traffic(
    ingest: Ingest, sender: Sender, script: Script, rate: float, stop: asyncio.Event
) -> None:
    await ingest.ready(stop)
    await sender.run(script.next, rate, stop)


async def _end(stop: asyncio.Event, seconds: float) -> None:
    await until(stop, seconds)
    stop.set()


def _banner(door: str, where: str, keyring: Keyring, page: str) -> str:
    program = sys.argv[0] if Path(sys.argv[0]).name == "trunkline" else "trunkline"
    return "\n".join(
        [
            f"trunkline {__version__}: the door, its stream and a page, in one process",
            f"  page   {page}",
            f"  door   {door}  (accounts: {', '.join(keyring.accounts)})",
            f"  data   {where}",
            f"  try    curl -i -d '{{}}' {door}  # 401: nobody signed it",
            f"  watch  {program} tail",
            "  stop   Ctrl-C",
        ]
    )
