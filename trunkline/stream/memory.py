"""A stream in this process's memory: the fake that tests use, held to the same contract."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from trunkline.errors import StreamError, StreamUnavailable
from trunkline.stream import Delivery, Mark, Member, Place, Record, Start, TopicSpec, TopicState
from trunkline.stream.embedded_topic import differences
from trunkline.stream.memory_group import MemoryGroup, MemoryMembership
from trunkline.stream.memory_storage import MemoryStorage


class MemorySubscription:
    def __init__(self, storage: MemoryStorage, positions: dict[Place, int]) -> None:
        self._storage = storage
        self._positions = positions
        self._arrived = asyncio.Event()
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
            found += self._storage.read(place, position, records_max - len(found))
        for delivery in found:
            self._positions[delivery.topic, delivery.partition] = delivery.offset + 1
        return found

    async def close(self) -> None:
        self._storage.listeners.discard(self._arrived)


class MemoryStream:
    """Set `failure` to make appends and checks fail; clear `gate` to hold appends where they are.

    Both bite before anything is appended. What is appended stays in `storage`, where a member of
    a group can be killed and a log be given gaps.
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
        self._subscriptions: list[MemorySubscription | MemoryMembership] = []

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
        return [self.storage.append(record) for record in records]

    async def check(self) -> None:
        problem = self._problem()
        if problem:
            raise problem

    def _problem(self) -> StreamError | None:
        return StreamUnavailable("the stream is closed") if self._closed else self.failure

    async def subscribe(self, topics: Sequence[str], start: Start) -> MemorySubscription:
        side = 1 if start is Start.LATEST else 0
        positions = {it: self.storage.ends[it][side] for it in self.storage.places(topics)}
        subscription = MemorySubscription(self.storage, positions)
        self._subscriptions.append(subscription)
        return subscription

    async def join(self, topics: Sequence[str], group: str, member: Member) -> MemoryMembership:
        self.storage.places(topics)
        if group not in self.storage.groups:
            self.storage.groups[group] = MemoryGroup(group, self.storage)
        membership = self.storage.groups[group].join(topics, member)
        self._subscriptions.append(membership)
        return membership

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
        return {place: self.storage.ends[place] for place in self.storage.places(topics)}

    async def marks(self, topics: Sequence[str], group: str) -> Mapping[Place, Mark]:
        marks = self.storage.marks
        places = self.storage.places(topics)
        return {place: marks[group, place] for place in places if (group, place) in marks}

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
