"""How the embedded stream shares out a fetch, and what wakes one that waits."""

import asyncio
from pathlib import Path

from tests.stream.words import DEADLINE_SECONDS, SPEC, TOPIC, created, record, sqlite_stream
from trunkline.clock import SystemClock
from trunkline.settings import Settings
from trunkline.stream import Record, Start
from trunkline.stream.sqlite import SqliteStream
from trunkline.stream.sqlite_subscription import FETCH_BYTES_MAX


async def test_small_fetches_take_their_turn_through_the_partitions(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    async with sqlite_stream(path) as stream:
        assert await stream.append([record(f"id-{n}") for n in range(100)]) == [None] * 100
        subscription = await stream.subscribe([TOPIC], Start.EARLIEST)

        partitions = [(await subscription.fetch(1, 0))[0].partition for _ in range(4)]

        assert set(partitions) == {0, 1, 2, 3}


async def test_a_fetch_holds_a_bounded_number_of_bytes(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    size = 1_000_000
    large = [Record(TOPIC, b"large", bytes(size), (), 0) for _ in range(20)]
    async with sqlite_stream(path) as stream:
        assert await stream.append(large) == [None] * 20
        subscription = await stream.subscribe([TOPIC], Start.EARLIEST)

        counts = [len(await subscription.fetch(1_000, 0)) for _ in range(3)]

        assert sum(counts) == 20
        assert max(counts) * size < FETCH_BYTES_MAX + size


async def test_an_append_in_this_process_wakes_a_waiting_fetch(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    seldom = Settings().sqlite.model_copy(update={"poll_seconds": 3_600.0})
    async with SqliteStream(path, seldom, [SPEC], SystemClock()) as stream:
        await stream.create([SPEC])
        subscription = await stream.subscribe([TOPIC], Start.EARLIEST)
        fetching = asyncio.create_task(subscription.fetch(10, 3_600))
        await asyncio.sleep(0)

        assert await stream.append([record("one")]) == [None]

        async with asyncio.timeout(DEADLINE_SECONDS):
            assert [got.key for got in await fetching] == [b"one"]
