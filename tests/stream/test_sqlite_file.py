"""What the embedded stream says of files that are not its own, and how it treats a lock."""

import asyncio
import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.members import Noting
from tests.stream.words import (
    DEADLINE_SECONDS,
    SPEC,
    TOPIC,
    created,
    everything,
    reached,
    record,
    sqlite_stream,
)
from trunkline.clock import ManualClock
from trunkline.errors import Fenced, Misconfigured, StreamUnavailable
from trunkline.stream import Mark, sqlite
from trunkline.stream.sqlite import STUCK_SECONDS


async def test_start_makes_the_file_and_the_directories_above_it(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / "stream.db"

    async with sqlite_stream(path) as stream:
        await stream.check()

    assert path.exists()


async def test_nobody_else_may_read_what_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    async with sqlite_stream(path) as stream:
        await stream.create([SPEC])
        await stream.append([record("one")])
        files = list(tmp_path.iterdir())  # noqa: ASYNC240  # a listing of three
        found = {file.name: file.stat().st_mode & 0o777 for file in files}
    assert found == dict.fromkeys(("stream.db", "stream.db-wal", "stream.db-shm"), 0o600)


async def test_a_file_that_exists_keeps_the_mode_its_owner_gave_it(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    path.chmod(0o640)
    async with sqlite_stream(path) as stream:
        assert await stream.append([record("one")]) == [None]
    assert path.stat().st_mode & 0o777 == 0o640


async def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    path.write_text("my diary\n" * 1_000)

    with pytest.raises(Misconfigured, match=r"^stream: .*stream\.db is not an SQLite database"):
        await sqlite_stream(path).start()

    assert path.read_text() == "my diary\n" * 1_000


async def test_a_database_of_another_program_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE diary(page)")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(Misconfigured, match="another program"):
        await sqlite_stream(path).start()

    assert path.read_bytes() == before


@pytest.mark.parametrize("layout", [1, 9])
async def test_a_file_of_another_layout_is_named_and_not_changed(
    tmp_path: Path, layout: int
) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={layout}")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(Misconfigured, match=f"layout {layout}.*move it away"):
        await sqlite_stream(path).start()

    assert path.read_bytes() == before


async def test_a_corrupted_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 2_000)

    with pytest.raises(Misconfigured, match="corrupted"):
        await sqlite_stream(path).start()


async def test_a_path_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Misconfigured, match=r"^stream: .*cannot be opened"):
        await sqlite_stream(tmp_path / "file" / "stream.db").start()


async def test_the_file_decides_how_many_partitions_a_topic_has(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    wanted = replace(SPEC, partitions=7)

    async with sqlite_stream(path, spec=wanted) as stream:
        (state,) = await stream.inspect([wanted])
        assert state.differences == ("partitions is 4, not 7",)
        assert await stream.append([record(f"id-{n}") for n in range(100)]) == [None] * 100
        assert {got.partition for got in await everything(stream)} == {0, 1, 2, 3}


async def test_a_lock_held_too_long_fails_the_batch_and_its_end_heals_the_stream(
    tmp_path: Path,
) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    holder = sqlite3.connect(path, isolation_level=None)
    async with sqlite_stream(path) as stream:
        holder.execute("BEGIN IMMEDIATE")

        async with asyncio.timeout(DEADLINE_SECONDS):
            results = await stream.append([record("one"), record("two")])

        assert [type(result) for result in results] == [StreamUnavailable] * 2
        assert "another process" in str(results[0])
        with pytest.raises(StreamUnavailable, match="another process"):
            await stream.check()
        holder.execute("ROLLBACK")
        holder.close()
        await stream.check()
        assert await stream.append([record("three")]) == [None]
        assert [got.key for got in await everything(stream)] == [b"three"]


async def test_the_loop_runs_on_while_the_file_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    holder = sqlite3.connect(path, isolation_level=None)
    async with sqlite_stream(path) as stream:
        holder.execute("BEGIN IMMEDIATE")

        appending = asyncio.create_task(stream.append([record("one")]))
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert not appending.done()

        holder.execute("ROLLBACK")
        holder.close()
        assert await appending == [None]


async def test_every_commit_is_synced_to_disk(tmp_path: Path) -> None:
    """A kill cannot show it, the page cache survives; so ask the connection that writes."""
    async with sqlite_stream(tmp_path / "stream.db") as stream:
        synchronous = await stream._write(lambda c: c.execute("PRAGMA synchronous").fetchone())
        journal = await stream._write(lambda c: c.execute("PRAGMA journal_mode").fetchone())

    assert (synchronous, journal) == ((2,), ("wal",))


async def test_a_write_that_hangs_is_reported_though_it_has_not_failed(tmp_path: Path) -> None:
    clock = ManualClock()
    async with sqlite_stream(tmp_path / "stream.db", clock=clock) as stream:
        begun, disk = threading.Event(), threading.Event()

        def hang() -> None:
            begun.set()
            disk.wait(DEADLINE_SECONDS)

        hanging = asyncio.create_task(stream._writer.run(hang))
        await reached(begun.is_set)
        await stream.check()
        clock.advance(STUCK_SECONDS + 1)
        with pytest.raises(StreamUnavailable, match="hung for 6 s"):
            await stream.check()

        disk.set()
        await hanging
        await stream.check()


async def test_closing_does_not_wait_for_ever_for_a_disk_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CLOSE_SECONDS", 0.01)
    stream = sqlite_stream(tmp_path / "stream.db")
    await stream.start()
    disk = threading.Event()
    hanging = asyncio.create_task(stream._writer.run(lambda: disk.wait(DEADLINE_SECONDS)))
    await asyncio.sleep(0)

    await stream.close()

    assert not hanging.done()
    disk.set()
    await hanging


async def test_a_commit_of_many_partitions_is_one_transaction(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    spec = replace(SPEC, partitions=64)
    async with sqlite_stream(path, spec=spec) as stream:
        await stream.create([spec])
        member = Noting()
        member.joined = await stream.join([TOPIC], "readers", member)
        await member.fetch(1, 0)
        watcher = sqlite3.connect(path)
        log = path.with_name(path.name + "-wal")
        before = log.stat().st_size

        await member.commit({(TOPIC, part): Mark(9, f"of {part}") for part in range(64)})

        assert log.stat().st_size - before < 64 * 8192
        total = watcher.execute("SELECT count(*), sum(next_offset) FROM marks").fetchone()
        assert total == (64, 64 * 9)
        watcher.close()


async def test_a_member_whose_file_is_gone_is_told_what_it_lost(tmp_path: Path) -> None:
    path = tmp_path / "here" / "stream.db"
    await created(path)
    async with sqlite_stream(path) as stream:
        member = Noting()
        member.joined = await stream.join([TOPIC], "readers", member)
        assert await member.fetch(1, 0) == []
        path.parent.rename(tmp_path / "gone")
        path.parent.touch()

        with pytest.raises(StreamUnavailable):
            await member.fetch(1, 0)

        assert member.told == ["assigned", "lost"]
        with pytest.raises(StreamUnavailable):
            await member.fetch(1, 0)
        with pytest.raises(Fenced):
            await member.commit({(TOPIC, 0): Mark(1)})


async def test_group_names_of_any_letters_are_files_beside_the_database(tmp_path: Path) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    async with sqlite_stream(path) as stream:
        await stream.join([TOPIC], "../größe", Noting())

        lock = path.with_name("stream.db...%2Fgr%C3%B6%C3%9Fe.lock")
        assert lock.read_text().strip() == str(os.getpid())
