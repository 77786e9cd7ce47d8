"""One idempotent producer from its start to its death: batches by partition, results by record.

Three laws. Batches of an idempotent producer never expire, so an append may wait as long as a
broker is away. A batch that failed leaves a hole in its partition's sequence and every later one
there fails too, so the first failure is the end of the producer; the stream builds another.
One request a broker is under way at a time, so appends that belong to one broker share a lane.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaTimeoutError, ProducerClosed, UnknownTopicOrPartitionError
from aiokafka.producer.message_accumulator import BatchBuilder

from trunkline.clock import Clock
from trunkline.errors import RecordRefused, StreamError, StreamUnavailable
from trunkline.stream import Record
from trunkline.stream.kafka_errors import FOREIGN, describe, translate
from trunkline.stream.kafka_limits import BatchLimits
from trunkline.stream.kafka_partitions import key_hash

NO_LANE = -1
BATCH_HEADER_BYTES = 61
NO_COMPRESSION = 0
METADATA_AGE_MS = 30_000


class Crowded(StreamUnavailable):
    """The broker refused a batch for one of its records: each has to be tried alone."""


class Batch:
    """Records of one append for one partition; settled when Kafka took them or never will."""

    __slots__ = ("builder", "bytes_max", "error", "indexes", "settled")

    def __init__(self, bytes_max: int) -> None:
        # Not the producer's create_batch, whose batches have one size for all topics.
        self.builder = BatchBuilder(bytes_max, NO_COMPRESSION)
        self.bytes_max = bytes_max
        self.indexes: list[int] = []
        self.settled = False
        self.error: BaseException | None = None


class Round:
    """The batches of one append that are under way."""

    __slots__ = ("batches", "done", "left", "since")

    def __init__(self, batches: dict[TopicPartition, Batch], since: float) -> None:
        self.batches = batches
        self.left = len(batches)
        self.since = since
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, batch: Batch, future: "asyncio.Future[Any]") -> None:
        # The exception is fetched even when nobody waits any more: asyncio complains otherwise.
        cancelled = future.cancelled()
        self.settle_as(batch, ProducerClosed() if cancelled else future.exception())

    def settle_as(self, batch: Batch, error: BaseException | None) -> None:
        if batch.settled:
            return
        batch.settled, batch.error = True, error
        self.left -= 1
        if not self.left:
            self.finish()

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class KafkaProducer:
    def __init__(
        self,
        options: Mapping[str, Any],
        request_seconds: float,
        limits: BatchLimits,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._seconds = request_seconds
        self._limits = limits
        self._producer = AIOKafkaProducer(
            enable_idempotence=True,
            acks="all",
            request_timeout_ms=int(request_seconds * 1000),
            metadata_max_age_ms=METADATA_AGE_MS,
            **options,
        )
        self.topics: set[str] = set()
        self._places: dict[str, list[TopicPartition]] = {}
        self._leaders: dict[str, list[int]] = {}
        self._busy: set[TopicPartition] = set()
        self._rounds: set[Round] = set()
        self._acked_at = clock.monotonic()
        self.dead = asyncio.Event()
        self.why_dead = ""

    async def start(self) -> None:
        """Waits for ever while no broker answers: bound it, and stop() whatever comes of it."""
        self._producer.client.cluster.add_listener(self._learn)
        await self._producer.start()

    async def track(self, topics: Sequence[str]) -> None:
        """Have the leaders of these topics, which exist, known from now on."""
        self.topics.update(topics)
        if self.topics:
            async with asyncio.timeout(self._seconds):
                await self._producer.client.set_topics(self.topics)
                if not self._places.keys() >= set(topics):
                    # A broker that had not heard of a new topic may have answered first.
                    await self._producer.client.force_metadata_update()

    def knows(self, topic: str) -> bool:
        return topic in self._places

    def lane(self, record: Record) -> int:
        leaders = self._leaders.get(record.topic)
        return leaders[key_hash(record.key) % len(leaders)] if leaders else NO_LANE

    def waiting_seconds(self) -> float:
        """How long the oldest append has waited without any append succeeding since it began."""
        oldest = min((round_.since for round_ in self._rounds), default=None)
        if oldest is None or self._acked_at > oldest:
            return 0.0
        return self._clock.monotonic() - oldest

    def oldest_seconds(self) -> float:
        now = self._clock.monotonic()
        return max((now - round_.since for round_ in self._rounds), default=0.0)

    def die(self, why: str) -> None:
        if not self.dead.is_set():
            self.why_dead = why
            self.dead.set()

    async def append(self, records: Sequence[Record]) -> list[StreamError | None]:
        results: list[StreamError | None] = [None] * len(records)
        indexes: Sequence[int] = range(len(records))
        while indexes:
            # More than one batch for a partition: it takes one at a time, so in rounds.
            batches, indexes = self._pack(records, indexes, results)
            await self._deliver(batches, results)
        return results

    def _pack(
        self, records: Sequence[Record], indexes: Sequence[int], results: list[StreamError | None]
    ) -> tuple[dict[TopicPartition, Batch], list[int]]:
        batches: dict[TopicPartition, Batch] = {}
        later: list[int] = []
        places, limit_of = self._places, self._limits.of
        for index in indexes:
            record = records[index]
            found = places.get(record.topic)
            if not found:
                results[index] = StreamUnavailable(f"the leaders of {record.topic} are not known")
                continue
            place = found[key_hash(record.key) % len(found)]
            batch = batches.get(place)
            if batch is None:
                batch = batches[place] = Batch(limit_of(record.topic))
            packed = batch.builder.append(
                timestamp=record.timestamp_ms,
                key=record.key,
                value=record.value,
                headers=[*record.headers],
            )
            if packed is None:
                later.append(index)
            elif not batch.indexes and packed.size + BATCH_HEADER_BYTES > batch.bytes_max:
                # Only a batch's first record can be too large: any other would open a new batch.
                del batches[place]
                results[index] = RecordRefused(
                    f"{record.topic} takes {batch.bytes_max} bytes at most,"
                    f" this record has {packed.size + BATCH_HEADER_BYTES} with headers"
                )
            else:
                batch.indexes.append(index)
        return batches, later

    async def _deliver(
        self, batches: dict[TopicPartition, Batch], results: list[StreamError | None]
    ) -> None:
        if not batches:
            return
        round_ = Round(batches, self._clock.monotonic())
        self._rounds.add(round_)
        crossing = not self._busy.isdisjoint(batches)
        self._busy.update(batches)
        if not crossing:
            for place, batch in batches.items():
                await self._send(place, batch, round_)
        else:
            # Somebody else's batch for one of these places is under way and sending would wait
            # for it; the other places must not.
            async with asyncio.TaskGroup() as group:
                for place, batch in batches.items():
                    group.create_task(self._send(place, batch, round_))
        await round_.done
        self._rounds.discard(round_)
        self._busy.difference_update(batches)
        self._report(batches, results)

    async def _send(self, place: TopicPartition, batch: Batch, round_: Round) -> None:
        try:
            future = await self._producer.send_batch(
                batch.builder, place.topic, partition=place.partition
            )
        except FOREIGN as error:
            if not isinstance(error, KafkaTimeoutError):
                self.die(describe(error))
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        future.add_done_callback(partial(round_.settle, batch))

    def _report(
        self, batches: dict[TopicPartition, Batch], results: list[StreamError | None]
    ) -> None:
        for place, batch in batches.items():
            if batch.settled and batch.error is None:
                self._acked_at = self._clock.monotonic()
                continue
            failure = self._failure(place, batch)
            for index in batch.indexes:
                results[index] = failure

    def _failure(self, place: TopicPartition, batch: Batch) -> StreamError:
        if batch.error is None:
            return StreamUnavailable(f"given up: {self.why_dead}")
        if not isinstance(batch.error, KafkaTimeoutError):
            self.die(describe(batch.error))
        failure = translate(batch.error, f"appending to {place.topic}")
        if isinstance(failure, RecordRefused) and len(batch.indexes) > 1:
            return Crowded(str(failure))
        return failure

    def _learn(self, cluster: Any) -> None:
        places: dict[str, list[TopicPartition]] = {}
        leaders: dict[str, list[int]] = {}
        for topic in cluster.topics(exclude_internal_topics=False):
            partitions = sorted(cluster.partitions_for_topic(topic) or ())
            places[topic] = [TopicPartition(topic, partition) for partition in partitions]
            leaders[topic] = [cluster.leader_for_partition(place) for place in places[topic]]
        self._places, self._leaders = places, leaders
        for round_ in list(self._rounds):
            for place, batch in round_.batches.items():
                if place.topic not in places:
                    # Deleted while waiting; aiokafka would hold the batch until it expires.
                    round_.settle_as(batch, UnknownTopicOrPartitionError())

    async def stop(self, drain_seconds: float) -> None:
        """Let what is under way finish, for so long; the rest is given up and may still land."""
        self.die("the stream was closed")
        deadline = self._clock.monotonic() + drain_seconds
        waiting = {round_.done for round_ in self._rounds}
        if waiting:
            await asyncio.wait(waiting, timeout=drain_seconds)
        for round_ in list(self._rounds):
            round_.finish()
        # Private, because the public stop() waits for ever for batches that cannot be sent: first
        # the task that sends, then what it leaves behind, and then the public way finds nothing.
        producer = self._producer
        await finish(producer._sender.close(), max(0.5, deadline - self._clock.monotonic()))  # noqa: SLF001
        producer._message_accumulator._batches.clear()  # noqa: SLF001
        producer._message_accumulator._pending_batches.clear()  # noqa: SLF001
        await finish(producer.stop(), self._seconds)


async def finish(work: Awaitable[Any], seconds: float) -> None:
    """Closing something of aiokafka: bounded, and its complaints are of no interest any more."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
    if task.done() and not task.cancelled():
        task.exception()
