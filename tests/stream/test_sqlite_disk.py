"""A disk without room: nothing is acked that is not kept, and room brings the stream back."""

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stream.words import Writing, created, everything, proven, record, sqlite_stream
from trunkline.errors import StreamUnavailable

MEGABYTE = 1_048_576


@pytest.mark.parametrize("rounds", [1, 3])
async def test_a_file_that_may_not_grow_refuses_and_recovers_without_a_restart(
    tmp_path: Path, rounds: int
) -> None:
    path = tmp_path / "stream.db"
    await created(path)
    writing = Writing(path, "one", batch=16)
    await writing.start()

    for _ in range(rounds):
        await writing.until_acked(len(writing.acked) + 500)
        _, hard = resource.prlimit(writing.pid, resource.RLIMIT_FSIZE)
        size = path.with_name(path.name + "-wal").stat().st_size
        resource.prlimit(writing.pid, resource.RLIMIT_FSIZE, (size + 100_000, hard))
        checks = len(writing.checks)
        await writing.until_refused(len(writing.refused) + 10)
        assert set(writing.refused) == {"StreamUnavailable"}
        assert "StreamUnavailable" in writing.checks[checks:]

        resource.prlimit(writing.pid, resource.RLIMIT_FSIZE, (hard, hard))
        await writing.until_acked(len(writing.acked) + 500)
        assert writing.checks[-1] == "well"

    await writing.kill()
    await proven(path, set(writing.acked))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mount)],
        capture_output=True,
        check=False,
    )
    assert made.returncode == 0, f"needs root: {made.stderr.decode()}"
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.e2e
async def test_a_full_disk_refuses_keeps_what_it_acked_and_recovers(small_disk: Path) -> None:
    path = small_disk / "stream.db"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 * MEGABYTE))
    await created(path)
    acked: set[str] = set()
    async with sqlite_stream(path) as stream:
        for number in range(10_000):
            (result,) = await stream.append([record(f"id-{number}")])
            if result is not None:
                break
            acked.add(f"id-{number}")
        assert isinstance(result, StreamUnavailable)
        assert "no room" in str(result)
        with pytest.raises(StreamUnavailable, match="no room"):
            await stream.check()

        # What is there can be read all the while.
        assert acked <= {(got.key or b"").decode() for got in await everything(stream)}

        ballast.unlink()
        await stream.check()
        assert await stream.append([record("after")]) == [None]

    await proven(path, acked | {"after"})


@pytest.mark.e2e
async def test_a_stream_started_on_a_full_disk_comes_to_life_when_there_is_room(
    small_disk: Path,
) -> None:
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, os.statvfs(small_disk).f_bavail * 4096 - 4096)
    async with sqlite_stream(small_disk / "stream.db") as stream:
        with pytest.raises(StreamUnavailable):
            await stream.check()

        ballast.unlink()

        await stream.check()
