"""Keeps one producer alive: connects, watches, replaces the dead, and says why there is none."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from trunkline.clock import Clock
from trunkline.errors import StreamUnavailable
from trunkline.settings import KafkaSection
from trunkline.stream.kafka_errors import FOREIGN, describe, explain
from trunkline.stream.kafka_limits import BatchLimits
from trunkline.stream.kafka_metadata import KafkaMetadata
from trunkline.stream.kafka_producer import KafkaProducer, finish
from trunkline.stream.kafka_url import Connecting

RETRY_SECONDS_MIN = 0.1
RETRY_SECONDS_MAX = 2.0
# A producer that lived this long died of something new: it is replaced at once.
HEALTHY_SECONDS = 10.0
# No append waits longer, whatever is the matter: the producer is replaced instead.
APPEND_SECONDS_MAX = 60.0
WATCH_SECONDS = 1.0
# The owner of a cluster may change what a topic takes at any time. A limit that fell is learnt
# sooner: what is then too large ends the producer, and its successor asks again.
LIMITS_SECONDS = 60.0


class ProducerSupervisor:
    def __init__(
        self,
        connecting: Connecting,
        settings: KafkaSection,
        clock: Clock,
        metadata: KafkaMetadata,
        topics: Sequence[str],
        limits: BatchLimits,
    ) -> None:
        self._connecting = connecting
        self._settings = settings
        self._clock = clock
        self._metadata = metadata
        self._topics = topics
        self._limits = limits
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._aside: set[asyncio.Task[None]] = set()
        self.producer: KafkaProducer | None = None
        self.failure: str | None = None

    async def start(self) -> None:
        """Returns when brokers answered, could not be reached, or are slow to say; tries on."""
        self._task = asyncio.create_task(self._supervise(), name="kafka producer")
        self._task.add_done_callback(self._ended)
        await finish(self._tried.wait(), self._settings.request_seconds)

    async def alive(self) -> KafkaProducer:
        """The producer; waits while one is replaced, but not while brokers are known to be away."""
        producer = self.producer
        if producer is not None and not producer.dead.is_set():
            return producer
        if producer is not None:
            self._retire(producer)
        if self.failure is None and self._task is not None:
            await finish(self._tried.wait(), self._settings.request_seconds)
        if self.producer is None or self.producer.dead.is_set():
            raise StreamUnavailable(self.failure or "the producer is being replaced")
        return self.producer

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
        self.failure = "the stream is closed"
        producer, self.producer = self.producer, None
        if producer is not None:
            await producer.stop(self._settings.close_seconds)
        if self._aside:
            await asyncio.wait(self._aside, timeout=self._settings.close_seconds)

    async def _supervise(self) -> None:
        delay = 0.0
        while True:
            await asyncio.sleep(delay)
            producer = await self._connect()
            if producer is None:
                delay = min(max(2 * delay, RETRY_SECONDS_MIN), RETRY_SECONDS_MAX)
                continue
            born = self._clock.monotonic()
            self.producer, self.failure = producer, None
            self._tried.set()
            await self._watch(producer)
            self._retire(producer)
            self._do_aside(producer.stop(self._settings.request_seconds))
            lived = self._clock.monotonic() - born
            delay = 0.0 if lived > HEALTHY_SECONDS else min(delay + RETRY_SECONDS_MIN, 2.0)

    async def _connect(self) -> KafkaProducer | None:
        seconds = self._settings.request_seconds
        producer = KafkaProducer(self._connecting.options(), seconds, self._limits, self._clock)
        try:
            async with asyncio.timeout(2 * seconds):
                await producer.start()
            # Before the first batch, so that a successor does not die of the same one.
            answer, _ = await asyncio.gather(
                self._metadata.ask(self._topics), self._limits.learn(self._topics)
            )
            await producer.track([topic for topic in self._topics if topic in answer.topics])
        except (*FOREIGN, StreamUnavailable, asyncio.CancelledError) as error:
            await producer.stop(0)
            if isinstance(error, asyncio.CancelledError):
                raise
            reason = await explain(self._connecting.options(), seconds)
            self.failure = f"Kafka is not reachable ({describe(error)}): {reason}"
            self._tried.set()
            return None
        return producer

    async def _watch(self, producer: KafkaProducer) -> None:
        """Until it dies, or until an append shows that it might as well be dead."""
        learnt_at = self._clock.monotonic()
        while not producer.dead.is_set():
            dead = asyncio.ensure_future(producer.dead.wait())
            await asyncio.wait({dead}, timeout=WATCH_SECONDS)
            dead.cancel()
            if producer.oldest_seconds() > APPEND_SECONDS_MAX:
                producer.die(f"an append had no answer in {APPEND_SECONDS_MAX:.0f} s")
            if self._clock.monotonic() - learnt_at > LIMITS_SECONDS:
                learnt_at = self._clock.monotonic()
                self._do_aside(self._limits.learn(frozenset(producer.topics)))

    def _retire(self, producer: KafkaProducer) -> None:
        # By whoever sees its death first, so that nobody takes the dead one for its successor.
        if self.producer is producer:
            self.producer = None
            self._tried.clear()

    def _ended(self, task: asyncio.Task[None]) -> None:
        # A mistake of ours must show in check(), and not as appends that wait for a successor.
        if not task.cancelled():
            self.failure = f"the producer is not replaced any more: {task.exception()!r}"
            self._tried.set()

    def _do_aside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="kafka, aside")
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)
