"""What the Kafka tests share: a stream of quick temper, topics, records, and what is in a topic."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.contract.members import Noting
from trunkline.clock import SystemClock
from trunkline.errors import StreamError, StreamUnavailable
from trunkline.settings import KafkaSection
from trunkline.stream import Delivery, Record, Start, TopicSpec
from trunkline.stream.kafka import KafkaStream

T = TypeVar("T")
SETTINGS = KafkaSection.model_validate({"request_seconds": 2.0, "close_seconds": 2.0})

HASTY = KafkaSection.model_validate({"request_seconds": 0.2, "close_seconds": 0.2})


def stream(url: str, topics: Sequence[str] = (), settings: KafkaSection = SETTINGS) -> KafkaStream:
    return KafkaStream(url, settings, SystemClock(), topics)


def new_topic() -> str:
    return f"t-{uuid.uuid4()}"


def spec(name: str, partitions: int = 4, replicas: int = 1, in_sync: int = 1) -> TopicSpec:
    return TopicSpec(
        name, partitions, replicas, in_sync, 86_400_000, compacted=False, record_bytes_max=2_097_152
    )


def record(topic: str, value: bytes, key: bytes = b"key") -> Record:
    return Record(topic, key, value, (("ce_id", value[:36]),), int(time.time() * 1000))


async def dump(kafka: KafkaStream, topic: str) -> list[Delivery]:
    """Everything in the topic now."""
    ends = await kafka.ends([topic])
    wanted = sum(end - first for first, end in ends.values())
    subscription = await kafka.subscribe([topic], Start.EARLIEST)
    try:
        found: list[Delivery] = []
        deadline = time.monotonic() + 20
        while len(found) < wanted and time.monotonic() < deadline:
            found += await subscription.fetch(10_000, 0.5)
        return found
    finally:
        await subscription.close()


async def joined(kafka: KafkaStream, topic: str) -> Noting:
    """A member of the group that has the topic's name."""
    member = Noting()
    member.joined = await kafka.join([topic], topic, member)
    return member


async def until(seconds: float, attempt: Callable[[], Awaitable[T]]) -> T:
    """The result of the first attempt that does not raise a StreamError."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await attempt()
        except StreamError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


async def until_unavailable(seconds: float, kafka: KafkaStream) -> StreamUnavailable:
    deadline = time.monotonic() + seconds
    while True:
        try:
            await kafka.check()
        except StreamUnavailable as error:
            return error
        assert time.monotonic() < deadline, "check() never noticed"
        await asyncio.sleep(0.05)


class Writer:
    """Appends without pause, one append at a time as a lane does, and knows what was acked."""

    def __init__(self, kafka: KafkaStream, topic: str, size: int = 16) -> None:
        self._kafka = kafka
        self._topic = topic
        self._size = size
        self._number = 0
        self._stopped = False
        self.acked: set[bytes] = set()
        self.refusals = 0

    async def run(self) -> None:
        while not self._stopped:
            values = [b"%d" % (self._number + index) for index in range(self._size)]
            self._number += self._size
            records = [record(self._topic, value, value) for value in values]
            results = await self._kafka.append(records)
            for value, result in zip(values, results, strict=True):
                if result is None:
                    self.acked.add(value)
                else:
                    assert isinstance(result, StreamUnavailable), result
                    self.refusals += 1
            # As the door would, hold back a little where nothing goes through.
            await asyncio.sleep(0 if None in results else 0.01)

    async def more(self, count: int, seconds: float) -> None:
        """Until so many more are acked."""
        wanted = len(self.acked) + count
        deadline = time.monotonic() + seconds
        while len(self.acked) < wanted:
            assert time.monotonic() < deadline, f"stuck at {len(self.acked)} of {wanted}"
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        self._stopped = True


async def alter(url: str, topic: str, settings: Mapping[str, str]) -> None:
    """Change a topic behind our back, as the owner of a cluster may."""
    admin = AIOKafkaAdminClient(bootstrap_servers=url.removeprefix("kafka://"))
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, dict(settings))])
    finally:
        await admin.close()
