"""A stream in this process's memory: the fake that tests use, held to the same contract."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from trunkline.errors import (
    GroupTaken,
    RecordRefused,
    StreamError,
    StreamUnavailable,
    TopicMissing,
)
from trunkline.stream import Delivery, Record, Start, TopicSpec, TopicState
from trunkline.stream.embedded_topic import (
    differences,
    missing,
    partition_of,
    too_large,
)

Place = tuple[str, int]


@dataclass(slots=True)
class MemoryStorage:
    """What outlives a MemoryStream: hand it to the next one to open the same records again."""

    topics: dict[str, TopicSpec] = field(default_factory=dict)
    logs: dict[Place, list[Delivery]] = field(default_factory=dict)
    positions: dict[tuple[str, str, int], int] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    listeners: set[asyncio.Event] = field(default_factory=set)

    def add(self, spec: TopicSpec) -> None:
        if spec.name not in self.topics:
            self.topics[spec.name] = spec
            self.logs |= {(spec.name, partition): [] for partition in range(spec.partitions)}

    def places(self, topics: Sequence[str]) -> list[Place]:
        for topic in topics:
            if topic not in self.topics:
                raise TopicMissing(missing(topic))
        return [(name, part) for name in topics for part in range(self.topics[name].partitions)]

    def append(self, record: Record) -> StreamError | None:
        spec = self.topics.get(record.topic)
        if spec is None:
            return TopicMissing(missing(record.topic))
        size = len(record.key) + len(record.value)
        size += sum(len(name) + len(text) for name, text in record.headers)
        if size > spec.record_bytes_max:
            return RecordRefused(too_large(size, spec))
        partition = partition_of(record.key, spec.partitions)
        log = self.logs[record.topic, partition]
        log.append(
            Delivery(
                topic=record.topic,
                partition=partition,
                offset=len(log),
                timestamp_ms=record.timestamp_ms,
                key=record.key,
                value=record.value,
                headers=record.headers,
            )
        )
        return None


class MemorySubscription:
    def __init__(
        self, storage: MemoryStorage, group: str | None, positions: dict[Place, int]
    ) -> None:
        self._storage = storage
        self._group = group
        self._positions = positions
        self._arrived = asyncio.Event()
        self._closed = False
        storage.listeners.add(self._arrived)

    async def fetch(self, records_max: int, wait_seconds: float) -> list[Delivery]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        while not (found := self._take(records_max)) and loop.time() < deadline:
            self._arrived.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._arrived.wait()
            except TimeoutError:
                break
        return found

    def _take(self, records_max: int) -> list[Delivery]:
        found: list[Delivery] = []
        for place, position in self._positions.items():
            log = self._storage.logs[place]
            found += log[position : position + records_max - len(found)]
        for delivery in found:
            self._positions[delivery.topic, delivery.partition] = delivery.offset + 1
        return found

    async def settle(self, topic: str, partition: int, next_offset: int) -> None:
        if self._group is not None:
            self._storage.positions[self._group, topic, partition] = next_offset

    async def close(self) -> None:
        self._storage.listeners.discard(self._arrived)
        if self._group is not None and not self._closed:
            self._storage.groups.discard(self._group)
        self._closed = True


class MemoryStream:
    """Set `failure` to make appends and checks fail; clear `gate` to hold appends where they are.

    Both bite before anything is appended. What is appended stays in `storage`.
    """

    def __init__(
        self, specs: Sequence[TopicSpec] = (), storage: MemoryStorage | None = None
    ) -> None:
        self.storage = storage or MemoryStorage()
        for spec in specs:
            self.storage.add(spec)
        self.failure: StreamError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self._closed = False
        self._subscriptions: list[MemorySubscription] = []

    @property
    def records(self) -> list[Delivery]:
        """Everything appended, by topic and partition."""
        return [delivery for log in self.storage.logs.values() for delivery in log]

    async def start(self) -> None:
        pass

    def lane(self, record: Record) -> int:  # noqa: ARG002  # one memory, one lane
        return 0

    async def append(self, records: Sequence[Record]) -> list[StreamError | None]:
        await self.gate.wait()
        problem = self._problem()
        if problem:
            return [problem] * len(records)
        results = [self.storage.append(record) for record in records]
        for listener in self.storage.listeners:
            listener.set()
        return results

    async def check(self) -> None:
        problem = self._problem()
        if problem:
            raise problem

    def _problem(self) -> StreamError | None:
        return StreamUnavailable("the stream is closed") if self._closed else self.failure

    async def subscribe(
        self, topics: Sequence[str], group: str | None, start: Start
    ) -> MemorySubscription:
        places = self.storage.places(topics)
        if group is not None:
            if group in self.storage.groups:
                raise GroupTaken(f"group {group} already has a consumer")
            self.storage.groups.add(group)
        positions = {}
        for place in places:
            begin = len(self.storage.logs[place]) if start is Start.LATEST else 0
            positions[place] = self.storage.positions.get((group or "", *place), begin)
        subscription = MemorySubscription(self.storage, group, positions)
        self._subscriptions.append(subscription)
        return subscription

    async def inspect(self, specs: Sequence[TopicSpec]) -> list[TopicState]:
        states = []
        for spec in specs:
            actual = self.storage.topics.get(spec.name)
            found = differences(spec, actual) if actual else ()
            states.append(TopicState(spec.name, actual is not None, found))
        return states

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        for spec in specs:
            self.storage.add(spec)

    async def ends(self, topics: Sequence[str]) -> Mapping[Place, tuple[int, int]]:
        return {place: (0, len(self.storage.logs[place])) for place in self.storage.places(topics)}

    async def close(self) -> None:
        self._closed = True
        for subscription in self._subscriptions:
            await subscription.close()

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
