"""kill -9 at random moments, zombies beside, and a reader who never stops looking: exact."""

import asyncio
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Protocol

import pytest

from sinks.store.files import ASIDE
from tests.lake.words import exact, lines, on_disk

RECORDS = 3_000
ROUNDS = 12
DEADLINE_SECONDS = 60.0


class Starting(Protocol):
    async def __call__(self, store: Path, mark: Path, seed: int, *, commits: bool) -> Process: ...


class Reader:
    """Globs and reads all the while; what it has seen must stay as it was."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.seen: dict[str, bytes] = {}
        self.looks = 0

    def look(self) -> None:
        found = on_disk(self._root)
        assert self.seen.keys() <= found.keys(), "a file is gone"
        for name, data in found.items():
            assert self.seen.setdefault(name, data) == data, f"{name} has changed"
        self.looks += 1

    async def read(self) -> None:
        while True:
            await asyncio.to_thread(self.look)


@pytest.fixture
async def started() -> AsyncIterator[Starting]:
    """Starts publishers; none outlives its test."""
    processes: list[Process] = []

    async def start(store: Path, mark: Path, seed: int, *, commits: bool) -> Process:
        arguments = map(str, (store, mark, RECORDS, seed, int(commits)))
        program = (sys.executable, "-m", "tests.lake.publisher")
        processes.append(await asyncio.create_subprocess_exec(*program, *arguments))
        return processes[-1]

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ended(process: Process) -> int:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await process.wait()
    except TimeoutError:
        process.kill()
        raise


async def until_more(root: Path, before: int, more: int) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        # Another process makes it true: there is no event to wait for.
        while len(cut_objects(root)) < before + more:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def cut_objects(root: Path) -> list[Path]:
    return list(root.glob("lake/_cuts/*/*.json"))


@pytest.mark.parametrize("seed", [1, 2])
async def test_kills_and_zombies_leave_each_record_once_in_order(
    tmp_path: Path, started: Starting, seed: int
) -> None:
    store, mark = tmp_path / "store", tmp_path / "mark"
    random = Random(seed)  # noqa: S311  # a seed that can be run again
    reader = Reader(store)
    reading = asyncio.create_task(reader.read())
    try:
        for number in range(ROUNDS):
            before = len(cut_objects(store))
            commits = random.random() < 0.5
            owner = await started(store, mark, random.randrange(10**6), commits=commits)
            zombie = await started(store, mark, random.randrange(10**6), commits=False)
            with suppress(TimeoutError):
                # The last rounds may find little left to do.
                async with asyncio.timeout(5 if number < ROUNDS // 2 else 0.5):
                    await until_more(store, before, random.randint(1, 4))
            for process in (owner, zombie):
                if process.returncode is None:
                    process.kill()
                await process.wait()
            assert {owner.returncode, zombie.returncode} <= {0, -9}
        both = [await started(store, mark, n, commits=n == 0) for n in range(2)]
        assert [await ended(process) for process in both] == [0, 0]
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
    reader.look()
    exact(reader.seen, range(RECORDS))
    assert reader.looks > 1


async def test_a_reset_to_the_beginning_after_a_kill_publishes_nothing_twice(
    tmp_path: Path, started: Starting
) -> None:
    store, mark = tmp_path / "store", tmp_path / "mark"
    first = await started(store, mark, 1, commits=True)
    await until_more(store, 0, 5)
    first.kill()
    await first.wait()
    (store / ASIDE).mkdir(exist_ok=True)
    for position in (0, 77, 0):
        mark.write_text(str(position))
        process = await started(store, mark, position + 2, commits=True)
        assert await ended(process) == 0
        assert int(mark.read_text()) == RECORDS
    files = on_disk(store)
    exact(files, range(RECORDS))
    assert sum(len(lines(data)) for data in files.values()) == RECORDS
