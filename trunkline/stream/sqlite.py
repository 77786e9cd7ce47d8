"""The embedded stream: one SQLite file, written durably by a thread, read by another."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from trunkline.clock import Clock
from trunkline.errors import Misconfigured, StreamError, StreamUnavailable, TopicMissing
from trunkline.settings import SqliteSection
from trunkline.stream import Mark, Member, Place, Record, Start, TopicSpec, TopicState
from trunkline.stream import sqlite_retention as retention
from trunkline.stream import sqlite_schema as schema
from trunkline.stream.embedded_lock import GroupLock
from trunkline.stream.embedded_thread import JobThread, ThreadClosed
from trunkline.stream.embedded_topic import differences, limited, missing
from trunkline.stream.sqlite_append import Placement
from trunkline.stream.sqlite_file import FileUnusable, SqliteFile
from trunkline.stream.sqlite_membership import SqliteMembership
from trunkline.stream.sqlite_subscription import SqliteSubscription

T = TypeVar("T")
Job = Callable[[schema.Connection], T]

# A write that takes longer means a disk that hangs, whatever it may do in the end.
STUCK_SECONDS = 5.0
CLOSE_SECONDS = 5.0

_log = logging.getLogger(__name__)


class SqliteStream:
    """What specs say of a topic's retention and record size holds over what the file says.

    Partitions are the file's alone: changing them would move keys.
    """

    def __init__(
        self, path: Path, settings: SqliteSection, specs: Sequence[TopicSpec], clock: Clock
    ) -> None:
        self._path = path
        self._settings = settings
        self._limits = {spec.name: spec for spec in specs}
        self._clock = clock
        self._placement = Placement(self._limits)
        self._write_file = SqliteFile(path, settings.busy_seconds)
        self._read_file = SqliteFile(path, settings.busy_seconds)
        self._writer = JobThread("stream-writer", clock)
        self._reader = JobThread("stream-reader", clock)
        self._failure: StreamUnavailable | None = StreamUnavailable("the stream is not started")
        self._subscriptions: set[SqliteSubscription] = set()
        self._memberships: set[SqliteMembership] = set()
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        try:
            await self._configured(self._run(self._writer, self._write_file.open))
            self._failure = None
        except StreamUnavailable as failure:
            self._failure = failure  # a full disk or a busy file passes; check() says when
        self._sweeping = asyncio.create_task(self._sweep_for_ever(), name="stream-sweep")

    def lane(self, record: Record) -> int:  # noqa: ARG002  # one file, one lane
        return 0

    async def append(self, records: Sequence[Record]) -> list[StreamError | None]:
        try:
            results = await self._noting(self._run(self._writer, partial(self._append, records)))
        except StreamUnavailable as failure:
            return [failure] * len(records)
        for subscription in self._subscriptions:
            subscription.arrived.set()
        return results

    def _append(self, records: Sequence[Record]) -> list[StreamError | None]:
        placement = self._placement
        self._write_file.read(partial(placement.refresh, records=records))
        problems, rows = placement.plan(records)
        if rows:
            self._write_file.write(partial(placement.write, rows=rows))
        return problems

    async def check(self) -> None:
        if self._writer.stuck_seconds > STUCK_SECONDS:
            raise StreamUnavailable(f"a write has hung for {self._writer.stuck_seconds:.0f} s")
        if self._failure:
            await self._write(schema.probe)

    async def subscribe(self, topics: Sequence[str], start: Start) -> SqliteSubscription:
        lanes = await self._lanes(topics)
        ends = await self._read(schema.ends_of)
        side = 1 if start is Start.LATEST else 0
        return self._subscribe(lanes, {lane: ends[lane][side] for lane in lanes.values()})

    def _subscribe(
        self, lanes: Mapping[Place, int], positions: Mapping[int, int]
    ) -> SqliteSubscription:
        subscription = SqliteSubscription(
            lanes, positions, self._read, self._subscriptions.discard, self._settings.poll_seconds
        )
        self._subscriptions.add(subscription)
        return subscription

    async def join(self, topics: Sequence[str], group: str, member: Member) -> SqliteMembership:
        """All partitions at once: a group has one member here, or GroupTaken is raised."""
        lock = await self._run(self._reader, partial(GroupLock, self._path, group))
        try:
            lanes = await self._lanes(topics)
            marks = await self._read(partial(schema.marks_of, group=group))
        except BaseException:
            lock.release()
            raise
        membership = SqliteMembership(
            group,
            member,
            lanes,
            marks,
            self._subscribe(lanes, {lane: marks[lane].next_offset for lane in lanes.values()}),
            self._write,
            lock,
        )
        self._memberships = {it for it in self._memberships if not it.closed} | {membership}
        return membership

    async def inspect(self, specs: Sequence[TopicSpec]) -> list[TopicState]:
        topics = await self._configured(self._read(schema.topics_of))
        states = []
        for spec in specs:
            actual = topics.get(spec.name)
            if actual:
                actual = limited(actual, self._limits)
            found = differences(spec, actual) if actual else ()
            states.append(TopicState(spec.name, actual is not None, found))
        return states

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        await self._configured(self._write(partial(schema.create_topics, specs=specs)))

    async def ends(self, topics: Sequence[str]) -> Mapping[Place, tuple[int, int]]:
        lanes = await self._lanes(topics)
        ends = await self._read(schema.ends_of)
        return {place: ends[lane] for place, lane in lanes.items()}

    async def marks(self, topics: Sequence[str], group: str) -> Mapping[Place, Mark]:
        lanes = await self._lanes(topics)
        committed = await self._read(partial(schema.committed_by, group=group))
        return {place: committed[lane] for place, lane in lanes.items() if lane in committed}

    async def sweep(self, now: float) -> int:
        """Delete what is older than its topic keeps it; returns how many records that were."""
        cutoffs = await self._read(partial(retention.cutoffs, limits=self._limits, now=now))
        deleted = 0
        for lane in await self._read(partial(retention.expired_lanes, cutoffs=cutoffs)):
            step = partial(retention.delete_step, lane=lane, cutoff=cutoffs[lane])
            while count := await self._write(step):
                deleted += count
        spare = await self._read(retention.spare_pages)
        while spare > 0:
            await self._write(partial(retention.vacuum_step, pages=spare))
            spare -= retention.STEP_PAGES
        return deleted

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.retention_sweep_seconds)
            try:
                await self.sweep(self._clock.now())
            except StreamUnavailable as failure:
                _log.warning("retention could not sweep, it tries again: %s", failure)

    async def close(self) -> None:
        if self._sweeping:
            self._sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeping
            self._sweeping = None
        for membership in self._memberships:
            await membership.close()
        for subscription in list(self._subscriptions):
            await subscription.close()
        for thread, file in ((self._writer, self._write_file), (self._reader, self._read_file)):
            if not await thread.close(file.close, CLOSE_SECONDS):
                _log.warning("%s is still busy with %s, left behind", thread.name, self._path)

    async def _lanes(self, topics: Sequence[str]) -> dict[Place, int]:
        lanes = await self._read(schema.lanes_of)
        for topic in topics:
            if (topic, 0) not in lanes:
                raise TopicMissing(missing(topic))
        return {place: lane for place, lane in lanes.items() if place[0] in topics}

    async def _read(self, job: Job[T]) -> T:
        return await self._run(self._reader, partial(self._read_file.read, job))

    async def _write(self, job: Job[T]) -> T:
        return await self._noting(self._run(self._writer, partial(self._write_file.write, job)))

    async def _noting(self, writing: Awaitable[T]) -> T:
        """Remember how the last write went, for check()."""
        try:
            result = await writing
        except StreamUnavailable as failure:
            self._failure = failure
            raise
        self._failure = None
        return result

    async def _configured(self, opening: Awaitable[T]) -> T:
        try:
            return await opening
        except FileUnusable as failure:
            raise Misconfigured("stream", str(failure)) from None

    async def _run(self, thread: JobThread, job: Callable[[], T]) -> T:
        try:
            return await thread.run(job)
        except ThreadClosed:
            raise StreamUnavailable("the stream is closed") from None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
