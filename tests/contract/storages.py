"""Where each kind of stream keeps its records, and what can be done to it from outside."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.contract.kafka_rig import kafka_rig
from tests.contract.words import Rig
from trunkline.clock import SystemClock
from trunkline.settings import Settings
from trunkline.stream import Membership, Place, Stream, TopicSpec
from trunkline.stream.memory import MemoryStream
from trunkline.stream.memory_group import MemoryMembership
from trunkline.stream.memory_storage import MemoryStorage
from trunkline.stream.sqlite import SqliteStream
from trunkline.stream.sqlite_membership import SqliteMembership
from trunkline.stream.sqlite_schema import OFFSET_BITS, Connection, lanes_of

# The embedded stream's own defaults.
SQLITE = Settings().sqlite


@asynccontextmanager
async def make_rig(kind: str, tmp_path: Path, specs: Sequence[TopicSpec]) -> AsyncIterator[Rig]:
    """Fresh storage with the topics of specs."""
    if kind == "kafka":
        async with kafka_rig(specs) as on_kafka:
            yield on_kafka
        return
    async with AsyncExitStack() as stack:
        rig: Rig = MemoryRig(stack) if kind == "memory" else SqliteRig(stack, tmp_path, specs)
        first = await rig.open()
        await first.create(specs)
        await first.close()
        yield rig


class MemoryRig:
    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._storage = MemoryStorage()

    async def open(self) -> Stream:
        return await self._stack.enter_async_context(MemoryStream(storage=self._storage))

    async def crash(self, membership: Membership) -> None:
        assert isinstance(membership, MemoryMembership)
        self._storage.kill(membership)

    async def forget(self, place: Place, before: int) -> None:
        self._storage.forget(place, before)

    async def gap(self, place: Place) -> None:
        self._storage.skip(place, 2)

    async def foreign(self, place: Place, key: bytes | None, value: bytes | None) -> None:
        self._storage.put(place, key, value)


class SqliteRig:
    """Nobody but us writes into an embedded stream, so its offsets have no gaps."""

    def __init__(self, stack: AsyncExitStack, folder: Path, specs: Sequence[TopicSpec]) -> None:
        self._stack = stack
        self._path = folder / "stream.db"
        self._specs = specs

    async def open(self) -> Stream:
        return await self._stack.enter_async_context(self._stream())

    def _stream(self) -> SqliteStream:
        return SqliteStream(self._path, SQLITE, self._specs, SystemClock())

    async def crash(self, membership: Membership) -> None:
        assert isinstance(membership, SqliteMembership)
        membership._lock.release()  # what the system does for a process that died

    async def forget(self, place: Place, before: int) -> None:
        def drop(connection: Connection) -> None:
            lane = lanes_of(connection)[place]
            ids = lane << OFFSET_BITS, lane << OFFSET_BITS | before
            connection.execute("DELETE FROM records WHERE id >= ? AND id < ?", ids)
            update = "UPDATE lanes SET first_offset = ? WHERE lane = ?"
            connection.execute(update, (before, lane))

        async with self._stream() as stream:
            await stream._write(drop)

    async def gap(self, place: Place) -> None:
        raise AssertionError(f"{place}: the embedded stream gives every offset to a record")

    async def foreign(self, place: Place, key: bytes | None, value: bytes | None) -> None:
        raise AssertionError(f"{place}: nobody else writes {key!r}, {value!r} here")
