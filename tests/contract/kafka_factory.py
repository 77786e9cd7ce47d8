"""The contract's storage on a real broker, and a producer that is not ours."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from aiokafka import AIOKafkaProducer

from tests.kafka_server import shared_server
from trunkline.clock import SystemClock
from trunkline.settings import Settings
from trunkline.stream import Stream, TopicSpec
from trunkline.stream.kafka import KafkaStream


@asynccontextmanager
async def kafka_streams(
    specs: Sequence[TopicSpec],
) -> AsyncIterator[Callable[[], Awaitable[Stream]]]:
    """Streams on the shared broker, where the topics of specs exist; all closed at the end."""
    # In this very thread: the broker dies with the thread that started it.
    url = shared_server().url
    topics = [spec.name for spec in specs]
    size = max(spec.record_bytes_max for spec in specs)
    async with AsyncExitStack() as stack:

        async def open_stream() -> Stream:
            stream = KafkaStream(url, Settings().kafka, SystemClock(), topics, size)
            return await stack.enter_async_context(stream)

        first = await open_stream()
        await first.create(specs)
        await first.close()
        yield open_stream


async def append_foreign(topic: str, key: bytes | None, value: bytes | None) -> None:
    """Append as a program of somebody else might."""
    async with AIOKafkaProducer(bootstrap_servers=shared_server().bootstrap) as producer:
        await producer.send_and_wait(topic, key=key, value=value)
