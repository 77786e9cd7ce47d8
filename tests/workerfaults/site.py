"""Where workers are put to the test: a stream, processes on it, events for them, and the judge."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from tests.faults.report import report
from tests.load.dump import dump, settings_from
from tests.load.process import DoorProcess
from tests.workerfaults.checker import Facts, Span, Summary, check
from tests.workerfaults.journal import Event, Run, count, read
from tests.workerfaults.program import GROUP, JOURNAL
from trunkline import topics
from trunkline.cli.wiring import open_stream
from trunkline.clock import SystemClock
from trunkline.errors import StreamError
from trunkline.stream import Delivery, Mark, Place, Record, Stream
from trunkline.worker import letters

KEYS = 40
TESTED = ("-m", "tests.workerfaults.program")
PUBLISH = ("-m", "trunkline", "process", "publish")
_now = time.monotonic


class Site:
    """Its names are its own, so that many may share a broker."""

    def __init__(
        self, folder: Path, stream: str, prefix: str = "", settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.url = stream
        self.topic = prefix + topics.CALLS
        self.dead_topic = prefix + topics.DEAD
        self.group = prefix + "tested"
        self.journal = folder / "journal"
        self.store = folder / "store"
        self.deaths: dict[int, float] = {}
        self.outages: list[Span] = []
        self._settings = {
            "TRUNKLINE_TOPICS_PARTITIONS": "6",
            "TRUNKLINE_TOPICS_REPLICAS": "1",
            "TRUNKLINE_TOPICS_IN_SYNC_REPLICAS_MIN": "1",
            "TRUNKLINE_TOPICS_PREFIX": prefix,
            "TRUNKLINE_STORE": f"file://{'/' + str(self.store)}",
            "TRUNKLINE_LAKE_CUT_SECONDS": "0.5",
            GROUP: self.group,
            JOURNAL: str(self.journal),
            **(settings or {}),
        }
        self.environment = self.process().environment
        self.settings = settings_from(self.environment, folder)
        self.stream: Stream

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Self]:
        self.journal.mkdir(exist_ok=True)
        async with open_stream(self.settings, SystemClock()) as self.stream:
            await self.stream.create(topics.specs(self.settings.topics))
            yield self

    def process(self, arguments: tuple[str, ...] = TESTED, **settings: str) -> DoorProcess:
        return DoorProcess(
            self.folder, self.url, {**self._settings, **settings}, arguments=arguments
        )

    def kill(self, process: DoorProcess) -> None:
        pid = process.pid
        process.kill()
        self.deaths[pid] = _now()

    async def restart(self, process: DoorProcess) -> None:
        process.launch()
        await asyncio.to_thread(process.wait_ready, 40)

    async def put(self, wishes: Iterable[Mapping[str, Any]], topic: str = "") -> None:
        """Append events, one key each unless they say which."""
        records = [
            Record(
                topic or self.topic,
                str(wish.get("key", f"alone-{number}")).encode(),
                json.dumps(wish).encode(),
                (("ce_id", os.urandom(8).hex().encode()), ("ce_type", b"call.initiated")),
                int(time.time() * 1_000),
            )
            for number, wish in enumerate(wishes)
        ]
        for result in await self.stream.append(records):
            if result is not None:
                raise result

    @contextlib.asynccontextmanager
    async def fed(self, rate: int = 200, topic: str = "", ms: int = 10) -> AsyncIterator[None]:
        """While the block goes on, events come in on many keys."""
        stop = asyncio.Event()
        feeding = asyncio.create_task(self._feed(rate, topic, ms, stop))
        try:
            yield
        finally:
            stop.set()
            await feeding

    async def _feed(self, rate: int, topic: str, ms: int, stop: asyncio.Event) -> None:
        started, count = _now(), 0
        while not stop.is_set():
            due = int((_now() - started) * rate) - count
            wishes = [
                {"do": "slow", "ms": number % (2 * ms), "key": f"key-{number * 7 % KEYS}"}
                for number in range(count, count + min(due, rate))
            ]
            count += due
            with contextlib.suppress(StreamError):  # what was not taken is not there to be lost
                await self.put(wishes, topic)
            await asyncio.sleep(0.02)

    async def ends(self, *names: str) -> Mapping[Place, tuple[int, int]]:
        return await self.stream.ends(list(names) or [self.topic])

    async def behind(self, group: str = "", *names: str) -> dict[Place, int]:
        """How far from its end each partition's mark is, where it is not there."""
        marks = await self.stream.marks(list(names) or [self.topic], group or self.group)
        found = {}
        for place, (first, end) in (await self.ends(*names)).items():
            mark = marks.get(place, Mark(first))
            if mark != Mark(end) and first < end:
                found[place] = end - mark.next_offset
        return found

    async def settled(self, group: str = "", *names: str, seconds: float = 60.0) -> None:
        async def all_settled() -> bool:
            with contextlib.suppress(StreamError):
                return not await self.behind(group, *names)
            return False

        await until(all_settled, "all settled", seconds)

    def runs(self) -> list[Run]:
        return read(self.journal, self.deaths)

    async def begun(self, more: int, since: int | None = None, seconds: float = 60.0) -> None:
        """Until so many more runs have begun than before (or now), whoever runs them."""
        before = count(self.journal) if since is None else since

        async def enough() -> bool:
            return await asyncio.to_thread(count, self.journal) >= before + more

        await until(enough, f"{more} more runs", seconds)

    async def dead(self) -> dict[Event, letters.Letter]:
        found = [letters.read(it) for it in await dump(self.stream, [self.dead_topic])]
        return {(it.topic, it.partition, it.offset): it for it in found}

    async def stored(self, *names: str) -> list[Delivery]:
        return await dump(self.stream, list(names) or [self.topic])

    async def judge(self, name: str, note: str = "", **more: Any) -> Summary:
        """Reads everything, reports, and fails on what does not fit together."""
        facts = Facts(
            await self.stored(),
            await self.ends(),
            await self.stream.marks([self.topic], self.group),
            dead=list(await self.dead()),
            deaths=self.deaths,
            outages=self.outages,
            **more,
        )
        summary = check(self.runs(), facts)
        report(f"worker, {name}: {summary}{'; ' if note else ''}{note}")
        assert summary.violations == []
        return summary


async def until(holds: Callable[[], Awaitable[object]], what: str, seconds: float = 30.0) -> None:
    """Other processes make it true: there is no event to wait for."""
    deadline = _now() + seconds
    while not await holds():
        assert _now() < deadline, f"waited {seconds} s in vain: {what}"
        await asyncio.sleep(0.05)


@contextlib.contextmanager
def all_killed(*processes: DoorProcess) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.kill()
