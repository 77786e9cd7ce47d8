"""Several processes on one file: two doors may write, one consumer may read for a group."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.contract.members import Noting
from tests.stream.words import (
    TOPIC,
    Writing,
    created,
    everything,
    proven,
    reached,
    record,
    sqlite_stream,
)
from trunkline.errors import GroupTaken, StreamUnavailable
from trunkline.stream import Start

CONSUMER = """
import asyncio, sys
from pathlib import Path
from tests.contract.members import Noting
from tests.stream.words import TOPIC, sqlite_stream
async def consume():
    async with sqlite_stream(Path(sys.argv[1])) as stream:
        await stream.join([TOPIC], "archive/1", Noting())
        print("joined", flush=True)
        await asyncio.Event().wait()
asyncio.run(consume())
"""


async def test_two_writers_get_offsets_of_their_own_and_neither_starves(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    writers = [Writing(path, "left"), Writing(path, "right")]

    for writer in writers:
        await writer.start()
    await asyncio.gather(*[writer.until_acked(2_000) for writer in writers])
    for writer in writers:
        await writer.kill()

    await proven(path, set(writers[0].acked) | set(writers[1].acked))
    assert [writer.refused for writer in writers] == [[], []]


async def test_a_reader_beside_a_writer_misses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    writing = Writing(path, "one")
    await writing.start()
    seen: list[str] = []

    async with sqlite_stream(path) as stream:
        subscription = await stream.subscribe([TOPIC], Start.EARLIEST)
        while len(seen) < 3_000:
            seen += [(got.key or b"").decode() for got in await subscription.fetch(100, 10)]
        await writing.kill()
        while part := await subscription.fetch(1_000, 0):
            seen += [(got.key or b"").decode() for got in part]

    assert set(writing.acked) <= set(seen)
    assert len(seen) == len(set(seen))


async def test_a_second_consumer_of_a_group_is_refused_until_the_first_is_gone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CONSUMER, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout
    assert await holder.stdout.readline() == b"joined\n"

    async with sqlite_stream(path) as stream:
        with pytest.raises(GroupTaken, match=str(holder.pid)):
            await stream.join([TOPIC], "archive/1", Noting())
        other = Noting()
        other.joined = await stream.join([TOPIC], "archive/2", other)
        assert await stream.append([record("one")]) == [None]
        assert len(await other.fetch(10, 10)) == 1

        holder.kill()
        await holder.wait()

        await stream.join([TOPIC], "archive/1", Noting())
        with pytest.raises(GroupTaken, match=str(os.getpid())):
            await stream.join([TOPIC], "archive/1", Noting())


async def test_a_file_taken_away_under_a_writer_is_never_written_into_the_void(
    tmp_path: Path,
) -> None:
    path = tmp_path / "here" / "stream.db"
    await created(path)
    writing = Writing(path, "one")
    await writing.start()
    await writing.until_acked(100)

    path.parent.rename(tmp_path / "moved")
    await reached(lambda: "TopicMissing" in writing.refused)
    await created(path)
    await writing.until_acked(len(writing.acked) + 100)
    await writing.kill()

    async with sqlite_stream(tmp_path / "moved" / "stream.db") as stream:
        old = {(got.key or b"").decode() for got in await everything(stream)}
    await proven(path, set(writing.acked) - old)


async def test_a_file_taken_away_during_a_commit_fails_that_commit(tmp_path: Path) -> None:
    path = tmp_path / "here" / "stream.db"
    await created(path)

    def take_away(_connection: object) -> None:
        path.parent.rename(tmp_path / "moved")

    async with sqlite_stream(path) as stream:
        with pytest.raises(StreamUnavailable, match="removed or replaced"):
            await stream._write(take_away)
