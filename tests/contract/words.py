"""One test's storage, and the records and readings that the contract is spoken in."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from uuid import uuid4

from trunkline.stream import (
    Delivery,
    Headers,
    Membership,
    Place,
    Record,
    Start,
    Stream,
    Subscription,
    TopicSpec,
)

# Long enough for a Kafka on a busy machine; what arrives in time costs nothing.
PATIENCE_SECONDS = 30.0
RECORD_BYTES_MAX = 1_100_000
# Centuries: the suite's records carry old timestamps, and a broker would sweep them at once.
RETENTION_MS = 10**13


def spec(name: str, *, partitions: int = 4) -> TopicSpec:
    return TopicSpec(
        name=name,
        partitions=partitions,
        replicas=1,
        in_sync_replicas_min=1,
        retention_ms=RETENTION_MS,
        compacted=False,
        record_bytes_max=RECORD_BYTES_MAX,
    )


class Names:
    """Topics of one test alone: a broker keeps its topics from one test to the next."""

    def __init__(self) -> None:
        run = f"contract-{uuid4().hex[:12]}"
        self.calls = f"{run}.calls"
        self.other = f"{run}.other"
        self.absent = f"{run}.absent"
        self.group = f"{run}.readers"
        self.specs = (spec(self.calls), spec(self.other, partitions=2))


class Rig(Protocol):
    """What the suite does to a kind of stream from outside."""

    async def open(self) -> Stream:
        """Another started stream on this storage; it is closed with the storage at the latest."""

    async def crash(self, membership: Membership) -> None:
        """As if its process had died: nothing is committed, nobody takes leave."""

    async def forget(self, place: Place, before: int) -> None:
        """Drop what is older, as retention would."""

    async def gap(self, place: Place) -> None:
        """Use up offsets at the end of the partition for what no reader is given."""

    async def foreign(self, place: Place, key: bytes | None, value: bytes | None) -> None:
        """Append as a program of somebody else might."""


class Storage:
    """Somewhere records are kept: topics `calls` and `other` exist in it, `absent` does not."""

    def __init__(self, names: Names, rig: Rig) -> None:
        self.calls, self.other, self.absent = names.calls, names.other, names.absent
        self.group = names.group
        self.specs = names.specs
        self.rig = rig

    async def open(self) -> Stream:
        return await self.rig.open()

    def record(
        self,
        key: bytes = b"k",
        value: bytes = b"v",
        *,
        topic: str | None = None,
        headers: Headers = (),
        timestamp_ms: int = 1_700_000_000_000,
    ) -> Record:
        return Record(topic or self.calls, key, value, headers, timestamp_ms)

    def numbered(self, count: int, *, start: int = 0) -> list[Record]:
        return [self.record(value=b"%d" % number) for number in range(start, start + count)]

    def spread(self, count: int) -> list[Record]:
        """Each with a key of its own: with a few dozen, every partition gets some."""
        return [self.record(b"key-%d" % number) for number in range(count)]

    async def read_topic(
        self, stream: Stream, count: int, topics: Sequence[str] = ()
    ) -> list[Delivery]:
        """The first `count` deliveries of `calls`, or of topics, remembering nothing."""
        subscription = await stream.subscribe(topics or [self.calls], Start.EARLIEST)
        found = await read(subscription, count)
        await subscription.close()
        return found


async def append(stream: Stream, records: Sequence[Record]) -> None:
    assert await stream.append(records) == [None] * len(records)


async def read(subscription: Subscription, count: int) -> list[Delivery]:
    """Exactly the next `count` deliveries; fails when they do not come."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    found: list[Delivery] = []
    while len(found) < count and loop.time() < deadline:
        found += await subscription.fetch(count - len(found), 0.5)
    assert len(found) == count
    return found


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Asks again and again; the condition does its own waiting."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    while not await condition():
        assert loop.time() < deadline
