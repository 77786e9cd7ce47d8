"""The only caller of aiokafka's getmany: never cancels it, and keeps what it brought unasked."""

import asyncio
from collections import deque
from collections.abc import Collection
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from trunkline.errors import StreamUnavailable
from trunkline.stream import Delivery, Place
from trunkline.stream.kafka_consumer import stop_consumer
from trunkline.stream.kafka_errors import FOREIGN, describe


class Poll:
    """Cancelling getmany would break the consumer, and it may outlast its timeout while a group
    rebalances; so it runs in a task that is never cancelled, and whoever is in a hurry leaves it
    for the next call.
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

    async def fetch(
        self,
        records_max: int,
        wait_seconds: float,
        places: Collection[TopicPartition] = (),
        held: Collection[Place] = (),
    ) -> list[Delivery]:
        """Of places, or of all where none are named; what came of held ones before stays here."""
        if self._failure is not None:
            raise self._failure
        if not (found := self._take(records_max, held)):
            if self._task is None:
                polling = self._poll(records_max, wait_seconds, places)
                self._task = asyncio.create_task(polling, name="kafka poll")
            await asyncio.wait({self._task}, timeout=wait_seconds + 0.05)
            if not self._task.done():
                return []
            task, self._task = self._task, None
            epoch, deliveries = task.result()
            if epoch == self._epoch:
                self._ready.extend(deliveries)
            found = self._take(records_max, held)
        return found

    def _take(self, records_max: int, held: Collection[Place]) -> list[Delivery]:
        if not held:
            count = min(records_max, len(self._ready))
            return [self._ready.popleft() for _ in range(count)]
        found: list[Delivery] = []
        kept: deque[Delivery] = deque()
        for it in self._ready:
            wanted = len(found) < records_max and (it.topic, it.partition) not in held
            (found if wanted else kept).append(it)
        self._ready = kept
        return found

    async def close(self, seconds: float) -> None:
        self.closed = True
        # Before the poll is awaited: stopping is what makes it return.
        await stop_consumer(self._consumer, seconds)
        if self._task is not None:
            task, self._task = self._task, None
            await asyncio.wait({task}, timeout=seconds)
            if task.done():
                task.exception()

    async def _poll(
        self, records_max: int, wait_seconds: float, places: Collection[TopicPartition]
    ) -> tuple[int, list[Delivery]]:
        try:
            polled = await self._consumer.getmany(
                *places, timeout_ms=int(wait_seconds * 1000), max_records=records_max
            )
        except FOREIGN as error:
            self._failure = StreamUnavailable(f"reading from Kafka: {describe(error)}")
            raise self._failure from None
        deliveries = [delivery(record) for records in polled.values() for record in records]
        return self._epoch, deliveries


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
