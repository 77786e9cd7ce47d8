"""The store on local files: whole, once, for good; and what it does when the disk will not."""

import asyncio
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sinks.store import StoreUnavailable
from sinks.store.files import ASIDE, FileStore
from trunkline.clock import SystemClock

NAME = "lake/date=2026-01-01/kind=a/x.jsonl"
OLD = 1_000_000.0


def store(root: Path) -> FileStore:
    return FileStore(root, SystemClock())


def list_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def aside(root: Path) -> list[str]:
    return list_of(root / ASIDE)


async def test_what_is_put_first_stays(tmp_path: Path) -> None:
    async with store(tmp_path / "deep" / "store") as files:
        assert await files.put_absent(NAME, b"one")
        assert not await files.put_absent(NAME, b"two")
        assert await files.read(NAME) == b"one"
        assert await files.names("lake/date=2026-01-01/kind=a") == ["x.jsonl"]
    assert aside(tmp_path / "deep" / "store") == []


async def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    async with store(tmp_path) as files:
        assert await files.read(NAME) is None
        assert await files.names("lake") == []


async def test_many_who_put_the_same_name_agree_on_one(tmp_path: Path) -> None:
    async with store(tmp_path) as one, store(tmp_path) as two:
        for number in range(50):
            name = f"{NAME}{number}"
            puts = [files.put_absent(name, data) for files in (one, two) for data in (b"a", b"b")]
            created = await asyncio.gather(*puts)
            assert sum(created) == 1
            assert await two.read(name) == (b"a" if created[0] or created[2] else b"b")
    assert aside(tmp_path) == []


async def test_a_put_that_lost_the_race_changes_nothing(tmp_path: Path) -> None:
    """The other file appears after we looked and before we link."""
    path = tmp_path / NAME

    class Racing(FileStore):
        def _link(self, path: Path, data: bytes) -> bool:
            path.write_bytes(b"first")
            return super()._link(path, data)

    async with Racing(tmp_path, SystemClock()) as files:
        assert not await files.put_absent(NAME, b"second")
    assert path.read_bytes() == b"first"
    assert aside(tmp_path) == []


async def test_opening_removes_only_old_leavings_of_our_own(tmp_path: Path) -> None:
    folder = tmp_path / ASIDE
    folder.mkdir()
    ours, fresh, foreign = ("put-" + "a" * 32, "put-" + "b" * 32, "notes.txt")
    for name in (ours, fresh, foreign):
        (folder / name).write_bytes(b"x")
    for name in (ours, foreign):
        os.utime(folder / name, (OLD, OLD))
    (folder / ("put-" + "c" * 32)).mkdir()
    async with store(tmp_path):
        assert aside(tmp_path) == sorted([foreign, fresh, "put-" + "c" * 32])


async def test_a_store_that_is_gone_says_so_and_is_not_made_anew(tmp_path: Path) -> None:
    root, away = tmp_path / "store", tmp_path / "away"
    async with store(root) as files:
        await files.put_absent(NAME, b"one")
        root.rename(away)
        for name in (NAME, "lake/date=2026-01-02/kind=b/y.jsonl"):
            with pytest.raises(StoreUnavailable, match="No such file"):
                await files.put_absent(name, b"two")
        assert not root.exists()
        away.rename(root)
        assert await files.put_absent("lake/date=2026-01-02/kind=b/y.jsonl", b"two")


async def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    async with store(tmp_path) as files:
        await files.put_absent(NAME, b"one")
        (tmp_path / NAME).unlink()
        (tmp_path / NAME).parent.rmdir()
        with pytest.raises(StoreUnavailable):
            await files.put_absent(NAME, b"two")
        assert await files.put_absent(NAME, b"two")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ""])
async def test_no_name_leads_out_of_the_store(tmp_path: Path, name: str) -> None:
    async with store(tmp_path / "store") as files:
        with pytest.raises(AssertionError):
            await files.put_absent(name, b"one")
    assert list_of(tmp_path) == ["store"]


@pytest.fixture
def short_files() -> Iterator[int]:
    """Files may not grow beyond this, as on a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, before[1]))
    yield 65_536
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


async def test_a_file_that_does_not_fit_is_never_seen(tmp_path: Path, short_files: int) -> None:
    async with store(tmp_path) as files:
        with pytest.raises(StoreUnavailable, match="too large"):
            await files.put_absent(NAME, bytes(short_files + 1))
        assert not (tmp_path / NAME).exists()
        assert aside(tmp_path) == []
        assert await files.put_absent(NAME, bytes(short_files))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)],
        capture_output=True,
        check=False,
    )
    assert made.returncode == 0, f"needs root: {made.stderr.decode()}"
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.e2e
async def test_a_full_disk_refuses_whole_files_and_takes_them_when_there_is_room(
    small_disk: Path,
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(700_000))
    async with store(small_disk / "store") as files:
        assert await files.put_absent(NAME, bytes(100_000))
        with pytest.raises(StoreUnavailable, match="No space"):
            await files.put_absent(NAME + "2", bytes(400_000))
        assert not (small_disk / "store" / (NAME + "2")).exists()
        assert aside(small_disk / "store") == []
        ballast.unlink()
        assert await files.put_absent(NAME + "2", bytes(400_000))
