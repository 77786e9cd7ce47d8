"""Joins what the lake says (processors) to the hand that writes it (sinks)."""

import asyncio
import logging
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path

from processors.publish import Cutter, entry
from sinks.lake import Cut, Lake
from sinks.store import StoreUnavailable
from sinks.store.files import FileStore
from trunkline import topics
from trunkline.clock import Clock
from trunkline.config import mask_url
from trunkline.errors import Misconfigured
from trunkline.outcome import Done, Outcome, Retry
from trunkline.settings import Settings
from trunkline.stream import Delivery, Place
from trunkline.worker.processor import Line

STORE = "store"  # the circuit that all of its events need

_WAIT_SECONDS = 0.2
_LINES_AT_A_TIME = 64  # then others on this loop have their turn
_offset_of = attrgetter("offset")
_log = logging.getLogger("trunkline.publish")


def open_store(settings: Settings, clock: Clock) -> FileStore:
    scheme, separator, rest = settings.store.partition("://")
    if scheme != "file" or not separator or not rest.startswith("/") or len(rest) == 1:
        raise Misconfigured(
            "store", f"{mask_url(settings.store)!r} is not file:///path or file:////absolute"
        )
    return FileStore(Path(rest[1:]), clock)


class Publish:
    name = "publish"
    defers = False

    def __init__(self, lake: Lake, settings: Settings) -> None:
        self.topics: Sequence[str] = [settings.topics.prefix + topic for topic in topics.INGESTED]
        self._lake = lake
        self._cutters: defaultdict[Place, Cutter] = defaultdict(lambda: Cutter(settings.lake))
        self._begun: dict[Place, Cut] = {}  # agreed by others, and longer than what we held

    def line(self, delivery: Delivery) -> Line:
        return (delivery.topic, delivery.partition, b"")

    def take(self, waiting: Sequence[Delivery], now: float) -> int | float:
        first = waiting[0]
        place = (first.topic, first.partition)
        cut = self._begun.get(place)
        if cut is None or first.offset not in cut:
            return self._cutters[place].cut(waiting, now)
        if waiting[-1].offset < cut.end:
            return now + _WAIT_SECONDS
        return _count_to(cut, waiting)

    def circuit(self, delivery: Delivery) -> str | None:
        del delivery
        return STORE

    async def handle(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        retry = None
        while retry is None and len(outcomes) < len(deliveries):
            rest = deliveries[len(outcomes) :]
            try:
                outcomes += [Done()] * await self._publish(rest)
            except StoreUnavailable as failure:
                retry = Retry(str(failure), circuit=STORE)
            except _TooFew:
                retry = Retry("waits for the rest of a cut another publisher began", _WAIT_SECONDS)
        if retry is not None:
            outcomes += [retry] * (len(deliveries) - len(outcomes))
        return outcomes

    async def _publish(self, deliveries: Sequence[Delivery]) -> int:
        """One cut from the head; how many records that was."""
        place = (deliveries[0].topic, deliveries[0].partition)
        cut = await self._lake.agree(deliveries)
        if deliveries[-1].offset < cut.end:
            self._begun[place] = cut
            raise _TooFew
        self._begun.pop(place, None)
        count = _count_to(cut, deliveries)
        files: defaultdict[str, list[bytes]] = defaultdict(list)
        for number, delivery in enumerate(deliveries[:count], 1):
            name, line = entry(delivery, cut.start, cut.end)
            files[name].append(line)
            if number % _LINES_AT_A_TIME == 0:
                await asyncio.sleep(0)
        joined = {name: b"".join(lines) for name, lines in files.items()}
        written = await self._lake.write(joined)
        if written and cut.start < deliveries[0].offset:
            _log.warning(
                "a cut was finished from its middle: what lies before was skipped, or had expired",
                extra={"place": place, "start": cut.start, "from": deliveries[0].offset},
            )
        return count


class _TooFew(Exception):
    pass


def _count_to(cut: Cut, deliveries: Sequence[Delivery]) -> int:
    return bisect_right(deliveries, cut.end, key=_offset_of)
