"""The stream on Apache Kafka: keeps one producer alive, and opens everything else on demand."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from trunkline.clock import Clock
from trunkline.errors import StreamError, StreamUnavailable, TopicMissing
from trunkline.settings import KafkaSection
from trunkline.stream import Mark, Member, Place, Record, Start, TopicSpec, TopicState
from trunkline.stream.kafka_errors import FOREIGN, describe
from trunkline.stream.kafka_limits import BatchLimits
from trunkline.stream.kafka_membership import KafkaMembership, join
from trunkline.stream.kafka_metadata import KafkaMetadata, refuse_leaderless
from trunkline.stream.kafka_producer import NO_LANE, Crowded, KafkaProducer
from trunkline.stream.kafka_subscription import KafkaSubscription, subscribe
from trunkline.stream.kafka_supervisor import ProducerSupervisor
from trunkline.stream.kafka_topics import KafkaTopics
from trunkline.stream.kafka_url import Connecting, parse

# How soon a topic that was missing is looked for again.
MISSING_SECONDS = 0.2
LOOKUP_SECONDS = 1.0
CHECKED_SECONDS = 0.5


class KafkaStream:
    """`topics` are those that must exist for check() to pass; others can be appended to as well."""

    def __init__(
        self,
        url: str,
        settings: KafkaSection,
        clock: Clock,
        topics: Sequence[str] = (),
        record_bytes_max: int = 2_097_152,
    ) -> None:
        self._address = parse(url)
        self._settings = settings
        self._clock = clock
        self._topics = tuple(topics)
        self._bytes_max = record_bytes_max
        self._missing: dict[str, float] = {}
        self._subscriptions: list[KafkaSubscription | KafkaMembership] = []
        self._checked_at = -CHECKED_SECONDS
        self._opened = False

    async def start(self) -> None:
        """Returns also while no broker can be reached, and connects when one can.

        Raises Misconfigured where the URL names files that cannot be used.
        """
        # What it has to say reaches an operator through check(), in our words.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self._connecting = Connecting(self._address)
        seconds = self._settings.request_seconds
        self._metadata = KafkaMetadata(self._connecting, seconds)
        self._limits = BatchLimits(self._metadata, self._bytes_max)
        self._admin = KafkaTopics(self._connecting, seconds, self._metadata)
        self._supervisor = ProducerSupervisor(
            self._connecting,
            self._settings,
            self._clock,
            self._metadata,
            self._topics,
            self._limits,
        )
        self._opened = True
        await self._supervisor.start()

    def lane(self, record: Record) -> int:
        producer = self._supervisor.producer
        return NO_LANE if producer is None else producer.lane(record)

    async def append(self, records: Sequence[Record]) -> list[StreamError | None]:
        try:
            producer = await self._supervisor.alive()
        except StreamUnavailable as error:
            return [error] * len(records)
        lost = await self._find({record.topic for record in records}, producer)
        if lost:
            return await self._append_known(records, lost)
        results = await producer.append(records)
        for index, result in enumerate(results):
            if type(result) is Crowded:
                (results[index],) = await self._append_alone(records[index])
        return results

    async def check(self) -> None:
        producer = self._supervisor.producer
        if producer is None:
            raise StreamUnavailable(self._supervisor.failure or "not connected to Kafka yet")
        waiting = producer.waiting_seconds()
        if waiting > self._settings.request_seconds:
            raise StreamUnavailable(f"Kafka has taken nothing for {waiting:.0f} s")
        if self._clock.monotonic() - self._checked_at < CHECKED_SECONDS:
            return
        answer = await self._metadata.require(self._topics)
        refuse_leaderless(self._topics, answer)
        self._checked_at = self._clock.monotonic()

    async def subscribe(self, topics: Sequence[str], start: Start) -> KafkaSubscription:
        """The subscription ends with the first StreamUnavailable of its fetch, or with the stream.

        Close it then, and subscribe again.
        """
        seconds = self._settings.request_seconds
        opened = await subscribe(
            self._connecting, seconds, self._clock, self._metadata, topics, start
        )
        self._remember(opened)
        return opened

    async def join(self, topics: Sequence[str], group: str, member: Member) -> KafkaMembership:
        await self._metadata.require(topics)
        seconds = self._settings.request_seconds
        opened = await join(self._connecting, seconds, topics, group, member, self._admin.ends)
        self._remember(opened)
        return opened

    def _remember(self, opened: KafkaSubscription | KafkaMembership) -> None:
        self._subscriptions = [it for it in self._subscriptions if not it.closed] + [opened]

    async def inspect(self, specs: Sequence[TopicSpec]) -> list[TopicState]:
        return await self._admin.inspect(specs)

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        await self._admin.create(specs)

    async def ends(self, topics: Sequence[str]) -> Mapping[tuple[str, int], tuple[int, int]]:
        return await self._admin.ends(topics)

    async def marks(self, topics: Sequence[str], group: str) -> Mapping[Place, Mark]:
        return await self._admin.marks(topics, group)

    async def close(self) -> None:
        if self._opened:
            self._opened = False
            await asyncio.gather(*(it.close() for it in self._subscriptions))
            await self._supervisor.close()
            await self._metadata.close()

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

    async def _find(
        self, topics: set[str], producer: KafkaProducer
    ) -> dict[str, StreamUnavailable]:
        """Topics the producer does not know, after one bounded look for them."""
        unknown = [topic for topic in topics if not producer.knows(topic)]
        if not unknown:
            return {}
        now = self._clock.monotonic()
        lost: dict[str, StreamUnavailable] = {}
        fresh = [it for it in unknown if self._missing.get(it, -9.0) + MISSING_SECONDS <= now]
        problem: StreamUnavailable | None = None
        if fresh:
            problem = await self._look(fresh, producer)
        for topic in unknown:
            if not producer.knows(topic):
                lost[topic] = problem or TopicMissing(
                    f"no such topic: {topic}; `trunkline topics apply` creates it"
                )
        return lost

    async def _look(
        self, topics: Sequence[str], producer: KafkaProducer
    ) -> StreamUnavailable | None:
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                answer, _ = await asyncio.gather(
                    self._metadata.ask(topics), self._limits.learn(topics)
                )
                found = [topic for topic in topics if topic in answer.topics]
                if found:
                    await producer.track(found)
        except StreamUnavailable as error:
            return error
        except FOREIGN as error:
            return StreamUnavailable(f"looking for {', '.join(topics)}: {describe(error)}")
        now = self._clock.monotonic()
        self._missing |= {topic: now for topic in topics if topic not in answer.topics}
        return None

    async def _append_known(
        self,
        records: Sequence[Record],
        lost: Mapping[str, StreamUnavailable],
    ) -> list[StreamError | None]:
        results: list[StreamError | None] = [lost.get(record.topic) for record in records]
        known = [index for index, result in enumerate(results) if result is None]
        if known:
            appended = await self.append([records[index] for index in known])
            for index, result in zip(known, appended, strict=True):
                results[index] = result
        return results

    async def _append_alone(self, record: Record) -> list[StreamError | None]:
        """After a batch was refused whole, on a producer that does not know of it."""
        try:
            producer = await self._supervisor.alive()
        except StreamUnavailable as error:
            return [error]
        return await producer.append([record])
