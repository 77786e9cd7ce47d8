"""Old records go in small steps, their space comes back, and no offset is ever used twice."""

import asyncio
from dataclasses import replace
from pathlib import Path

from tests.contract.members import Noting
from tests.stream.words import SPEC, TOPIC, created, everything, record, sqlite_stream
from trunkline.clock import ManualClock
from trunkline.settings import SqliteSection
from trunkline.stream import Mark, Record, Stream
from trunkline.stream.sqlite import SqliteStream

HOUR = 3_600_000


def stamped(key: bytes, hour: float, *, size: int = 10) -> Record:
    return Record(TOPIC, key, bytes(size), (), int(hour * HOUR))


async def append(stream: Stream, *records: Record) -> None:
    assert await stream.append(records) == [None] * len(records)


async def test_a_sweep_deletes_what_is_older_than_the_topic_keeps(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    async with sqlite_stream(path) as stream:
        await append(stream, *[stamped(b"a", hour) for hour in (0, 0.5, 1, 1.5)])

        assert await stream.sweep(now=2 * 3600 - 0.5) == 2

        assert [got.timestamp_ms for got in await everything(stream)] == [HOUR, int(1.5 * HOUR)]
        assert await stream.sweep(now=2 * 3600 - 0.5) == 0


async def test_no_offset_is_used_again_even_when_all_records_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    async with sqlite_stream(path) as stream:
        await append(stream, *[stamped(b"a", 0) for _ in range(5)])
        assert await stream.sweep(now=10 * 3600) == 5
        await append(stream, stamped(b"a", 10))
        assert await stream.sweep(now=20 * 3600) == 1
    # A writer that remembers nothing, and one that remembers too much, agree.
    async with sqlite_stream(path) as first, sqlite_stream(path) as second:
        await append(first, stamped(b"a", 20))
        await append(second, stamped(b"a", 20))
        assert await second.sweep(now=30 * 3600) == 2
        await append(first, stamped(b"a", 30))

        (got,) = await everything(first)
        assert got.offset == 8
        assert (await first.ends([TOPIC]))[TOPIC, got.partition] == (8, 9)


async def test_a_group_whose_place_was_swept_goes_on_at_the_first_record_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    async with sqlite_stream(path) as stream:
        await append(stream, *[stamped(b"a", 0) for _ in range(5)], stamped(b"a", 9))
        slow = await _joined(stream)
        (got,) = await slow.fetch(1, 0)
        place = TOPIC, got.partition
        await slow.commit({place: Mark(got.offset + 1, "above")})

        await stream.sweep(now=9 * 3600)

        (running_on,) = await slow.fetch(10, 0)
        await slow.close()
        again = await _joined(stream)
        (resumed,) = await again.fetch(10, 0)
        assert running_on.offset == resumed.offset == 5
        assert again.marks[place] == Mark(5)


async def _joined(stream: SqliteStream) -> Noting:
    member = Noting()
    member.joined = await stream.join([TOPIC], "slow", member)
    return member


async def test_the_file_shrinks_after_a_great_sweep(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    async with sqlite_stream(path) as stream:
        for _ in range(20):
            batch = [stamped(b"%d" % number, 0, size=10_000) for number in range(200)]
            await append(stream, *batch)
    before = path.stat().st_size
    async with sqlite_stream(path) as stream:
        assert await stream.sweep(now=10 * 3600) == 4_000
    assert path.stat().st_size < before / 10


async def test_a_sweep_lets_appends_through_between_its_steps(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    async with sqlite_stream(path) as stream:
        for _ in range(20):
            await append(stream, *[stamped(b"%d" % number, 0) for number in range(500)])

        sweeping = asyncio.create_task(stream.sweep(now=10 * 3600))
        landed = 0
        while not sweeping.done():
            await append(stream, stamped(b"a", 10))
            landed += 1

        assert sweeping.result() == 10_000
        assert landed > 10
        assert len(await everything(stream)) == landed


async def test_a_compacted_topic_keeps_everything(tmp_path: Path) -> None:
    spec = replace(SPEC, compacted=True)
    async with sqlite_stream(tmp_path / "stream.db", spec=spec) as stream:
        await stream.create([spec])
        await append(stream, stamped(b"a", 0))

        assert await stream.sweep(now=10_000 * 3600) == 0


async def test_retention_follows_the_settings_of_today(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    async with sqlite_stream(path, spec=replace(SPEC, retention_ms=10 * HOUR)) as stream:
        await append(stream, stamped(b"a", 0))
        assert await stream.sweep(now=9 * 3600) == 0
    async with sqlite_stream(path) as stream:
        assert await stream.sweep(now=9 * 3600) == 1


async def test_a_started_stream_sweeps_by_itself_on_its_clock(tmp_path: Path) -> None:
    settings = SqliteSection.model_validate({"retention_sweep_seconds": 0.001})
    clock = ManualClock(now=0)
    async with SqliteStream(tmp_path / "stream.db", settings, [SPEC], clock) as stream:
        await stream.create([SPEC])
        await append(stream, record("old"))
        clock.advance(2 * 3600)
        await append(stream, record("new", timestamp_ms=2 * HOUR))

        async with asyncio.timeout(60):
            while [got.key for got in await everything(stream)] != [b"new"]:
                pass
