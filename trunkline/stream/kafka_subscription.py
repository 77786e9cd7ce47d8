"""Reads Kafka freely: all partitions of some topics, with no group and nothing remembered."""

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from trunkline.clock import Clock
from trunkline.stream import Delivery, Start
from trunkline.stream.kafka_consumer import (
    REQUEST_SECONDS_MIN,
    all_places,
    open_consumer,
    stop_consumer,
)
from trunkline.stream.kafka_errors import FOREIGN, translate
from trunkline.stream.kafka_metadata import KafkaMetadata
from trunkline.stream.kafka_poll import Poll
from trunkline.stream.kafka_url import Connecting

NEW_PARTITIONS_SECONDS = 30.0


async def subscribe(
    connecting: Connecting,
    request_seconds: float,
    clock: Clock,
    metadata: KafkaMetadata,
    topics: Sequence[str],
    start: Start,
) -> "KafkaSubscription":
    """The position is fixed before this returns: LATEST means whatever is appended from now on."""
    places = await all_places(metadata, topics)
    consumer = open_consumer(connecting, request_seconds, None)
    try:
        async with asyncio.timeout(request_seconds + REQUEST_SECONDS_MIN):
            subscription = KafkaSubscription(consumer, request_seconds, clock, metadata, topics)
            await subscription.open(places, start)
            return subscription
    except FOREIGN as error:
        await stop_consumer(consumer, request_seconds)
        raise translate(error, f"subscribing to {', '.join(topics)}") from None


class KafkaSubscription:
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
