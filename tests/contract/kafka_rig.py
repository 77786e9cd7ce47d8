"""The contract's storage on a real broker, and the programs that are not ours beside it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from tests.contract.words import until
from tests.kafka_server import shared_server
from trunkline.clock import SystemClock
from trunkline.settings import Settings
from trunkline.stream import Membership, Place, Stream, TopicSpec
from trunkline.stream.kafka import KafkaStream
from trunkline.stream.kafka_membership import KafkaMembership


@asynccontextmanager
async def kafka_rig(specs: Sequence[TopicSpec]) -> AsyncIterator["KafkaRig"]:
    """On the shared broker, where the topics of specs exist; all streams closed at the end."""
    # In this very thread: the broker dies with the thread that started it.
    server = shared_server()
    async with AsyncExitStack() as stack:
        rig = KafkaRig(stack, server.url, server.bootstrap, specs)
        first = await rig.open()
        await first.create(specs)
        await first.close()
        yield rig


class KafkaRig:
    def __init__(
        self, stack: AsyncExitStack, url: str, bootstrap: str, specs: Sequence[TopicSpec]
    ) -> None:
        self._stack = stack
        self._url = url
        self._bootstrap = bootstrap
        self._specs = specs

    async def open(self) -> Stream:
        topics = [spec.name for spec in self._specs]
        size = max(spec.record_bytes_max for spec in self._specs)
        stream = KafkaStream(self._url, Settings().kafka, SystemClock(), topics, size)
        return await self._stack.enter_async_context(stream)

    async def crash(self, membership: Membership) -> None:
        """Its connections go, its heartbeats end, and the group hears no word of leaving."""
        assert isinstance(membership, KafkaMembership)
        await vanish(membership)

    async def forget(self, place: Place, before: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(*place): RecordsToDelete(before)})
        finally:
            await admin.close()

    async def gap(self, place: Place) -> None:
        """A transaction given up: its record is skipped, and so is the marker behind it."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, transactional_id=f"gap-{uuid4()}"
        )
        topic, partition = place
        before = await self._end(place)
        async with producer:
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"never", partition=partition)
            await producer.abort_transaction()

        async def marked() -> bool:
            # The broker writes the marker when it comes to it.
            return await self._end(place) == before + 2

        await until(marked)

    async def _end(self, place: Place) -> int:
        at = TopicPartition(*place)
        async with AIOKafkaConsumer(bootstrap_servers=self._bootstrap) as consumer:
            ends: dict[TopicPartition, int] = await consumer.end_offsets([at])
        return ends[at]

    async def foreign(self, place: Place, key: bytes | None, value: bytes | None) -> None:
        topic, partition = place
        async with AIOKafkaProducer(bootstrap_servers=self._bootstrap) as producer:
            await producer.send_and_wait(topic, key=key, value=value, partition=partition)


async def vanish(membership: KafkaMembership) -> None:
    consumer = membership._consumer
    coordinator = consumer._coordinator
    for task in (coordinator._heartbeat_task, coordinator._coordination_task):
        if task is not None:
            task.cancel()
    await consumer._fetcher.close()
    await consumer._client.close()
    # Nor does it come back: not even to find its coordinator for a commit.
    coordinator._closing.set_result(None)
    coordinator.coordinator_id = None
    consumer._closed = True
