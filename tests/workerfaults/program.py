"""`trunkline process` with one more processor, who does with each event what the event says.

An event is {"do": …, "ms": …}; what cannot be read as that is done at once.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.workerfaults.journal import CANCELLED, DEAD, DONE, RAISED, Journal
from trunkline import topics
from trunkline.cli import process
from trunkline.cli.main import main
from trunkline.clock import Clock
from trunkline.outcome import Dead, Done, Outcome
from trunkline.settings import Settings
from trunkline.stream import Delivery
from trunkline.worker.processor import Line

GROUP, JOURNAL = "TESTED_GROUP", "TESTED_JOURNAL"


class Unheard(BaseException):
    """What no handler of exceptions may swallow."""


class Obedient:
    def __init__(self, name: str, topic: str, journal: Journal) -> None:
        self.name = name
        self.topics: Sequence[str] = [topic]
        self.defers = False
        self._journal = journal

    def line(self, delivery: Delivery) -> Line:
        return (delivery.topic, delivery.partition, delivery.key or b"")

    def take(self, waiting: Sequence[Delivery], now: float) -> int | float:  # noqa: ARG002
        return 1

    defers = False

    def circuit(self, delivery: Delivery) -> str | None:  # noqa: ARG002
        return None

    async def handle(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        (delivery,) = deliveries
        run = self._journal.began(delivery)
        how = RAISED
        try:
            outcome = await behave(_wish(delivery.value))
            how = DEAD if isinstance(outcome, Dead) else DONE
        except asyncio.CancelledError:
            how = CANCELLED
            raise
        finally:
            self._journal.ended(run, how)
        return [outcome]


def _wish(value: bytes | None) -> dict[str, Any]:
    try:
        wish = json.loads(value or b"{}")
    except (ValueError, RecursionError):  # brackets without end
        return {}
    return wish if isinstance(wish, dict) else {}


async def behave(wish: dict[str, Any]) -> Outcome:
    match wish.get("do"):
        case "slow":
            await asyncio.sleep(wish["ms"] / 1_000)
        case "hang":
            await asyncio.Event().wait()
        case "stubborn":
            await _stubborn()
        case "dead":
            return Dead("as the event says")
        case violence:
            _strike(violence, wish.get("ms", 0))
    return Done()


def _strike(violence: object, ms: int) -> None:
    match violence:
        case "raise":
            raise RuntimeError("as the event says")
        case "unheard":
            raise Unheard
        case "exit":
            sys.exit(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "block":
            time.sleep(ms / 1_000)
        case "allocate":
            _allocate()


async def _stubborn() -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


def _allocate() -> None:
    taken = []
    while True:
        taken.append(bytearray(64 * 1024 * 1024))


@asynccontextmanager
async def tested(settings: Settings, clock: Clock) -> AsyncIterator[Obedient]:  # noqa: ARG001
    topic = settings.topics.prefix + topics.CALLS
    yield Obedient(os.environ[GROUP], topic, Journal(Path(os.environ[JOURNAL])))


if __name__ == "__main__":
    process.PROCESSORS["tested"] = tested
    sys.exit(main(["process", "tested"]))
