"""Where each kind of stream keeps its records, so that one suite can open several on the same."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.contract.kafka_factory import kafka_streams
from trunkline.clock import SystemClock
from trunkline.settings import Settings
from trunkline.stream import Stream, TopicSpec
from trunkline.stream.memory import MemoryStorage, MemoryStream
from trunkline.stream.sqlite import SqliteStream

OpenStream = Callable[[], Awaitable[Stream]]
# The embedded stream's own defaults.
SQLITE = Settings().sqlite


@asynccontextmanager
async def make_stream(
    kind: str, tmp_path: Path, specs: Sequence[TopicSpec]
) -> AsyncIterator[OpenStream]:
    """Fresh storage with the topics of specs; opens any number of started streams on it."""
    if kind == "kafka":
        async with kafka_streams(specs) as open_stream:
            yield open_stream
        return
    storage = MemoryStorage()
    async with AsyncExitStack() as stack:

        async def open_stream() -> Stream:
            stream: Stream
            if kind == "memory":
                stream = MemoryStream(storage=storage)
            else:
                stream = SqliteStream(tmp_path / "stream.db", SQLITE, specs, SystemClock())
            return await stack.enter_async_context(stream)

        first = await open_stream()
        await first.create(specs)
        await first.close()
        yield open_stream
