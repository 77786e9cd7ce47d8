"""Reading Kafka in order: by a group that remembers what it settled, or freely."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError

from trunkline.clock import Clock
from trunkline.errors import StreamUnavailable
from trunkline.stream import Delivery, Start
from trunkline.stream.kafka_consumer import (
    REQUEST_SECONDS_MIN,
    all_places,
    begin_at_ends,
    open_consumer,
    stop_consumer,
)
from trunkline.stream.kafka_errors import FOREIGN, describe, translate
from trunkline.stream.kafka_metadata import KafkaMetadata
from trunkline.stream.kafka_url import Connecting

NEW_PARTITIONS_SECONDS = 30.0


async def subscribe(
    connecting: Connecting,
    request_seconds: float,
    clock: Clock,
    metadata: KafkaMetadata,
    topics: Sequence[str],
    group: str | None,
    start: Start,
) -> "KafkaSubscription":
    """The position is fixed before this returns: LATEST means whatever is appended from now on."""
    places = await all_places(metadata, topics)
    if group is not None and start is Start.LATEST:
        await begin_at_ends(connecting, request_seconds, places, group)
    consumer = open_consumer(connecting, request_seconds, group)
    try:
        async with asyncio.timeout(request_seconds + REQUEST_SECONDS_MIN):
            if group is None:
                free = FreeSubscription(consumer, request_seconds, clock, metadata, topics)
                await free.open(places, start)
                return free
            member = GroupSubscription(consumer, request_seconds)
            consumer.subscribe(list(topics), listener=member)
            await member.open()
            return member
    except FOREIGN as error:
        await stop_consumer(consumer, request_seconds)
        raise translate(error, f"subscribing to {', '.join(topics)}") from None


class Poll:
    """The only caller of getmany. Cancelling that would break the consumer, and it may outlast
    its timeout while a group rebalances; so it runs in a task that is never cancelled, and
    whoever is in a hurry leaves it for the next call.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._task: asyncio.Task[tuple[int, list[Delivery]]] | None = None
        self._ready: deque[Delivery] = deque()
        self._epoch = 0
        self._failure: StreamUnavailable | None = None
        self.closed = False

    @property
    def idle(self) -> bool:
        return self._task is None

    def forget(self) -> None:
        """Partitions were taken away: what was polled before will be delivered again."""
        self._epoch += 1
        self._ready.clear()

    async def fetch(self, records_max: int, wait_seconds: float) -> list[Delivery]:
        if self._failure is not None:
            raise self._failure
        if not self._ready:
            if self._task is None:
                self._task = asyncio.create_task(self._poll(records_max, wait_seconds))
            await asyncio.wait({self._task}, timeout=wait_seconds + 0.05)
            if not self._task.done():
                return []
            task, self._task = self._task, None
            epoch, deliveries = task.result()
            if epoch == self._epoch:
                self._ready.extend(deliveries)
        count = min(records_max, len(self._ready))
        return [self._ready.popleft() for _ in range(count)]

    async def close(self, seconds: float) -> None:
        self.closed = True
        # Before the poll is awaited: stopping is what makes it return.
        await stop_consumer(self._consumer, seconds)
        if self._task is not None:
            task, self._task = self._task, None
            await asyncio.wait({task}, timeout=seconds)
            if task.done():
                task.exception()

    async def _poll(self, records_max: int, wait_seconds: float) -> tuple[int, list[Delivery]]:
        try:
            polled = await self._consumer.getmany(
                timeout_ms=int(wait_seconds * 1000), max_records=records_max
            )
        except FOREIGN as error:
            self._failure = StreamUnavailable(f"reading from Kafka: {describe(error)}")
            raise self._failure from None
        deliveries = [delivery(record) for records in polled.values() for record in records]
        return self._epoch, deliveries


class GroupSubscription(ConsumerRebalanceListener):  # type: ignore[misc]  # untyped in aiokafka
    def __init__(self, consumer: AIOKafkaConsumer, request_seconds: float) -> None:
        self._consumer = consumer
        self._seconds = request_seconds
        self._poll = Poll(consumer)
        # How far each partition was delivered under the present assignment.
        self._delivered: dict[TopicPartition, int] = {}

    async def open(self) -> None:
        await self._consumer.start()
        # Another consumer may join meanwhile and take them; then there is nothing to wait for.
        with contextlib.suppress(IllegalStateError):
            for place in self._consumer.assignment():
                await self._consumer.position(place)

    async def fetch(self, records_max: int, wait_seconds: float) -> list[Delivery]:
        deliveries = await self._poll.fetch(records_max, wait_seconds)
        for it in deliveries:
            self._delivered[TopicPartition(it.topic, it.partition)] = it.offset + 1
        return deliveries

    async def settle(self, topic: str, partition: int, next_offset: int) -> None:
        place = TopicPartition(topic, partition)
        if next_offset > self._delivered.get(place, 0):
            # Another consumer may own it by now; committing here could move the group backwards.
            raise StreamUnavailable(f"{topic}/{partition} was handed to another consumer meanwhile")
        try:
            async with asyncio.timeout(self._seconds):
                await self._consumer.commit({place: next_offset})
        except FOREIGN as error:
            raise translate(error, f"settling {topic}/{partition}") from None

    @property
    def closed(self) -> bool:
        return self._poll.closed

    async def close(self) -> None:
        await self._poll.close(self._seconds)

    def on_partitions_revoked(self, revoked: Any) -> None:  # noqa: ARG002  # the library's word
        self._poll.forget()
        self._delivered.clear()

    def on_partitions_assigned(self, assigned: Any) -> None:
        pass


class FreeSubscription:
    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        request_seconds: float,
        clock: Clock,
        metadata: KafkaMetadata,
        topics: Sequence[str],
    ) -> None:
        self._consumer = consumer
        self._seconds = request_seconds
        self._clock = clock
        self._metadata = metadata
        self._topics = tuple(topics)
        self._poll = Poll(consumer)
        self._looked_at = clock.monotonic()

    async def open(self, places: list[TopicPartition], start: Start) -> None:
        self._consumer.assign(places)
        await self._consumer.start()
        if start is Start.LATEST:
            positions = await self._consumer.end_offsets(places)
        else:
            positions = await self._consumer.beginning_offsets(places)
        for place, offset in positions.items():
            self._consumer.seek(place, offset)

    async def fetch(self, records_max: int, wait_seconds: float) -> list[Delivery]:
        now = self._clock.monotonic()
        if self._poll.idle and now - self._looked_at > NEW_PARTITIONS_SECONDS:
            self._looked_at = now
            await self._adopt()
        return await self._poll.fetch(records_max, wait_seconds)

    async def settle(self, topic: str, partition: int, next_offset: int) -> None:
        pass

    @property
    def closed(self) -> bool:
        return self._poll.closed

    async def close(self) -> None:
        await self._poll.close(self._seconds)

    async def _adopt(self) -> None:
        """Partitions added since are read from their beginning: all of it is new."""
        known = self._consumer.assignment()
        fresh = set(await all_places(self._metadata, self._topics)) - known
        if not fresh:
            return
        try:
            async with asyncio.timeout(self._seconds):
                positions = {place: await self._consumer.position(place) for place in known}
                positions |= await self._consumer.beginning_offsets(list(fresh))
        except FOREIGN as error:
            raise translate(error, "looking for new partitions") from None
        # Assigning anew forgets every position; nothing may come between it and the seeks.
        self._consumer.assign(list(positions))
        for place, offset in positions.items():
            self._consumer.seek(place, offset)


KafkaSubscription = GroupSubscription | FreeSubscription


def delivery(record: Any) -> Delivery:
    return Delivery(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        tuple(record.headers),
    )
