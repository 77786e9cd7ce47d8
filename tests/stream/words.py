"""What the tests of the embedded stream share: a topic, payloads known by id, a full reading."""

import asyncio
import hashlib
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from trunkline.clock import Clock, SystemClock
from trunkline.settings import Settings
from trunkline.stream import Delivery, Record, Start, TopicSpec
from trunkline.stream.sqlite import SqliteStream

TOPIC = "calls"
SPEC = TopicSpec(TOPIC, 4, 1, 1, 3_600_000, compacted=False, record_bytes_max=1_100_000)
DEADLINE_SECONDS = 60.0


def payload(id_: str) -> bytes:
    """Between 32 bytes and 12 KB, so that some records need overflow pages."""
    digest = hashlib.sha256(id_.encode()).digest()
    return digest * (1 + int.from_bytes(digest[:2]) % 384)


def record(id_: str, *, timestamp_ms: int = 0) -> Record:
    return Record(TOPIC, id_.encode(), payload(id_), (("ce_id", id_.encode()),), timestamp_ms)


def sqlite_stream(
    path: Path, *, clock: Clock | None = None, spec: TopicSpec = SPEC
) -> SqliteStream:
    return SqliteStream(path, Settings().sqlite, [spec], clock or SystemClock())


async def created(path: Path) -> None:
    async with sqlite_stream(path) as stream:
        await stream.create([SPEC])


async def everything(stream: SqliteStream) -> list[Delivery]:
    subscription = await stream.subscribe([TOPIC], Start.EARLIEST)
    found: list[Delivery] = []
    while part := await subscription.fetch(1_000, 0):
        found += part
    await subscription.close()
    return found


async def proven(path: Path, acked: set[str]) -> list[Delivery]:
    """Every acked id is in the file, bytes equal, offsets dense, and the file is sound."""
    async with sqlite_stream(path) as stream:
        found = await everything(stream)
        ends = await stream.ends([TOPIC])
    ids = [(got.key or b"").decode() for got in found]
    assert acked - set(ids) == set()
    assert all(got.value == payload(id_) for got, id_ in zip(found, ids, strict=True))
    for (_, partition), (first, following) in ends.items():
        offsets = [got.offset for got in found if got.partition == partition]
        assert offsets == list(range(first, following))
    assert sound(path)
    return found


def sound(path: Path) -> bool:
    connection = sqlite3.connect(path)
    try:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])
    finally:
        connection.close()


class Writing:
    """The program writer.py in a process of its own, and what it has said so far."""

    def __init__(self, path: Path, name: str, *, batch: int = 8) -> None:
        self._arguments = ("-m", "tests.stream.writer", str(path), name, str(batch))
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.acked: list[str] = []
        self.refused: list[str] = []
        self.checks: list[str] = []

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *self._arguments, stdout=asyncio.subprocess.PIPE
        )
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process
        assert self._process.stdout
        lists = {b"acked": self.acked, b"refused": self.refused, b"check": self.checks}
        async for line in self._process.stdout:
            kind, _, text = line.partition(b" ")
            # A line cut off by the kill says nothing.
            if line.endswith(b"\n"):
                lists[kind].extend(text.decode().strip().split(","))

    async def until_acked(self, count: int) -> None:
        await reached(lambda: len(self.acked) >= count)

    async def until_refused(self, count: int) -> None:
        await reached(lambda: len(self.refused) >= count)

    async def kill(self) -> None:
        assert self._process
        assert self._reading
        self._process.kill()
        await self._process.wait()
        await self._reading


async def reached(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        # Another process makes it true: there is no event to wait for.
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
