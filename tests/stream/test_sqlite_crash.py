"""What was acked survives kill -9 and a torn write, in real processes."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stream.words import Writing, created, everything, proven, record, sqlite_stream

Tear = Callable[[Path, random.Random], None]


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = tmp_path / "stream.db"
    await created(path)
    return path


async def test_fifteen_kills_lose_nothing_that_was_acked(path: Path) -> None:
    chance = random.Random(7)  # noqa: S311  # only spreads the moments of the kills
    acked: set[str] = set()

    for round_ in range(15):
        writing = Writing(path, f"round{round_}", batch=chance.choice((1, 8, 64)))
        await writing.start()
        await writing.until_acked(chance.randrange(1, 400))
        await writing.kill()
        acked |= set(writing.acked)

    await proven(path, acked)


def cut(log: Path, chance: random.Random) -> None:
    """As when the power fails in the middle of a frame: half of it is there."""
    frame = 24 + 8192
    with log.open("ab") as file:
        file.write(chance.randbytes(chance.randrange(1, frame)))


def repeat(log: Path, chance: random.Random) -> None:
    """Frames that look real, from an older place in the log, then rubbish."""
    old = log.read_bytes()[32 : 32 + 2 * (24 + 8192)]
    with log.open("ab") as file:
        file.write(old + chance.randbytes(5_000))


@pytest.mark.parametrize("tear", [cut, repeat])
async def test_a_torn_log_costs_nothing_that_was_acked(path: Path, tear: Tear) -> None:
    chance = random.Random(11)  # noqa: S311  # rubbish, not secrets
    acked: set[str] = set()

    for round_ in range(5):
        writing = Writing(path, f"round{round_}")
        await writing.start()
        await writing.until_acked(100)
        await writing.kill()
        acked |= set(writing.acked)
        log = path.with_name(path.name + "-wal")
        assert log.stat().st_size > 0
        tear(log, chance)

    await proven(path, acked)
    async with sqlite_stream(path) as stream:
        assert await stream.append([record("after")]) == [None]
    await proven(path, acked | {"after"})


async def test_bytes_after_the_last_commit_are_cut_off_without_harm(path: Path) -> None:
    writing = Writing(path, "one", batch=64)
    await writing.start()
    await writing.until_acked(640)
    await writing.kill()
    log = path.with_name(path.name + "-wal")
    size = log.stat().st_size
    with log.open("ab") as file:
        file.write(os.urandom(100_000))
    os.truncate(log, size + 7)

    found = await proven(path, set(writing.acked))

    async with sqlite_stream(path) as stream:
        assert len(await everything(stream)) == len(found)
