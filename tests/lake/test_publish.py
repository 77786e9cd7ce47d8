"""The processor `publish` on real files: its outcomes, and what it says when it cannot go on."""

import errno
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from sinks.lake import Lake
from sinks.store import Store, StoreUnavailable
from sinks.store.files import FileStore
from tests.lake.words import START_MS, delivery, exact, offsets, on_disk, recorded
from trunkline.cli.publishing import Publish, open_store
from trunkline.clock import ManualClock, SystemClock
from trunkline.errors import Misconfigured
from trunkline.outcome import Done, Retry
from trunkline.settings import LakeSection, Settings, TopicsSection
from trunkline.stream import Delivery

FEW = Settings(lake=LakeSection(cut_records_max=10))
LATER = START_MS / 1_000 + 3_600
CUTS = "lake/_cuts/telnyx.calls-0"


class Failing:
    """A store that takes what it is told to, and fails for the rest."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.refused: tuple[str, ...] = ()

    async def put_absent(self, name: str, data: bytes) -> bool:
        if any(part in name for part in self.refused):
            raise StoreUnavailable(f"store: {errno.errorcode[errno.ENOSPC]}")
        return await self._inner.put_absent(name, data)

    async def read(self, name: str) -> bytes | None:
        return await self._inner.read(name)

    async def names(self, folder: str) -> list[str]:
        return await self._inner.names(folder)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    async with FileStore(tmp_path, SystemClock()) as files:
        yield files


def records(start: int, end: int) -> list[Delivery]:
    return [recorded(offset) for offset in range(start, end)]


def cuts(root: Path) -> list[Mapping[str, int]]:
    return [orjson.loads(path.read_bytes()) for path in sorted((root / CUTS).iterdir())]


async def test_a_cut_is_published_whole_and_done(store: FileStore, tmp_path: Path) -> None:
    publish = Publish(Lake(store), FEW)
    waiting = records(0, 25)
    assert publish.take(waiting, LATER) == 10
    assert await publish.handle(waiting[:10]) == [Done()] * 10
    assert publish.take(waiting[10:], LATER) == 10
    assert await publish.handle(waiting[10:]) == [Done()] * 15
    exact(on_disk(tmp_path), range(25))
    assert [(cut["start"], cut["end"]) for cut in cuts(tmp_path)] == [(0, 9), (10, 24)]


async def test_places_do_not_disturb_each_other(store: FileStore, tmp_path: Path) -> None:
    publish = Publish(Lake(store), FEW)
    for partition in (0, 1, 11):
        await publish.handle([delivery(n, partition=partition) for n in range(3)])
    assert offsets(on_disk(tmp_path)) == {0: [0, 1, 2], 1: [0, 1, 2], 11: [0, 1, 2]}


async def test_a_successor_waits_for_the_whole_of_a_cut_it_finds_begun(
    store: FileStore, tmp_path: Path
) -> None:
    failing = Failing(store)
    failing.refused = ("date=",)
    outcomes = await Publish(Lake(failing), FEW).handle(records(0, 20))
    assert {type(outcome) for outcome in outcomes} == {Retry}

    successor = Publish(Lake(store), FEW)
    outcomes = await successor.handle(records(0, 7))
    assert outcomes == [Retry("waits for the rest of a cut another publisher began", 0.2)] * 7
    assert on_disk(tmp_path) == {}
    # However few it would cut itself, and however late it is.
    assert successor.take(records(0, 12), LATER) == LATER + 0.2
    assert successor.take(records(0, 31), LATER) == 20
    assert await successor.handle(records(0, 20)) == [Done()] * 20
    assert successor.take(records(20, 35), LATER) == 10
    exact(on_disk(tmp_path), range(20))


@pytest.mark.parametrize("refused", ["kind=call.answered", "_cuts", "date="])
async def test_a_store_that_fails_makes_everything_wait(
    store: FileStore, tmp_path: Path, refused: str
) -> None:
    failing = Failing(store)
    failing.refused = (refused,)
    publish = Publish(Lake(failing), FEW)
    assert await publish.handle(records(0, 9)) == [Retry("store: ENOSPC", circuit="store")] * 9
    failing.refused = ()
    assert await publish.handle(records(0, 9)) == [Done()] * 9
    exact(on_disk(tmp_path), range(9))


async def test_what_was_done_before_the_store_failed_stays_done(
    store: FileStore, tmp_path: Path
) -> None:
    await Publish(Lake(store), FEW).handle(records(0, 5))
    failing = Failing(store)
    failing.refused = ("_cuts/telnyx.calls-0/000000000001",)
    outcomes = await Publish(Lake(failing), FEW).handle(records(0, 8))
    assert outcomes == [*[Done()] * 5, *[Retry("store: ENOSPC", circuit="store")] * 3]
    exact(on_disk(tmp_path), range(5))


async def test_a_stream_made_anew_does_not_pass_for_the_one_before(
    store: FileStore, tmp_path: Path
) -> None:
    await Publish(Lake(store), FEW).handle(records(0, 5))
    anew = [replace(each, timestamp_ms=each.timestamp_ms + 1) for each in records(0, 5)]
    outcomes = await Publish(Lake(store), FEW).handle(anew)
    assert all(isinstance(each, Retry) and "another stream" in each.reason for each in outcomes)
    exact(on_disk(tmp_path), range(5))


async def test_a_cut_nobody_can_read_stops_the_place_and_is_named(
    store: FileStore, tmp_path: Path
) -> None:
    await Publish(Lake(store), FEW).handle(records(0, 5))
    (tmp_path / CUTS / "000000000000.json").write_bytes(b'{"start":0}')
    outcomes = await Publish(Lake(store), FEW).handle(records(5, 9))
    assert outcomes == [Retry(f"store: {CUTS}/000000000000.json is not a cut", circuit="store")] * 4


async def test_old_cuts_may_be_removed_once_the_stream_has_forgotten_them(
    store: FileStore, tmp_path: Path
) -> None:
    for start in range(0, 30, 10):
        await Publish(Lake(store), FEW).handle(records(start, start + 10))
    (tmp_path / CUTS / "000000000000.json").unlink()
    assert await Publish(Lake(store), FEW).handle(records(10, 40)) == [Done()] * 30
    exact(on_disk(tmp_path), range(40))


async def test_a_cut_finished_from_its_middle_is_told(
    store: FileStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing(store)
    failing.refused = ("date=",)
    await Publish(Lake(failing), FEW).handle(records(0, 10))
    with caplog.at_level(logging.WARNING):
        assert await Publish(Lake(store), FEW).handle(records(4, 10)) == [Done()] * 6
    assert "finished from its middle" in caplog.text
    exact(on_disk(tmp_path), range(4, 10))


async def test_an_earlier_publication_ahead_is_not_published_again(
    store: FileStore, tmp_path: Path
) -> None:
    await Publish(Lake(store), FEW).handle(records(20, 30))
    await Publish(Lake(store), FEW).handle(records(40, 50))
    assert await Publish(Lake(store), FEW).handle(records(0, 60)) == [Done()] * 60
    exact(on_disk(tmp_path), range(60))
    ranges = sorted((cut["start"], cut["end"]) for cut in cuts(tmp_path))
    assert ranges == [(0, 19), (20, 29), (30, 39), (40, 49), (50, 59)]


def test_it_reads_what_the_door_writes_under_the_installations_prefix() -> None:
    settings = Settings(topics=TopicsSection(prefix="eu."))
    publish = Publish(Lake(FileStore(Path(), ManualClock())), settings)
    assert publish.topics[0] == "eu.telnyx.calls"
    assert len(publish.topics) == 5
    assert publish.line(delivery(1)) == publish.line(delivery(2)) == ("telnyx.calls", 0, b"")


@pytest.mark.parametrize("url", ["s3://bucket", "file://host/path", "file:///", "var/store", ""])
def test_a_store_that_is_not_a_folder_is_refused_by_name(url: str) -> None:
    with pytest.raises(Misconfigured, match="store"):
        open_store(Settings(store=url), ManualClock())


async def test_the_store_is_where_its_setting_says(tmp_path: Path) -> None:
    async with open_store(Settings(store=f"file:///{tmp_path}/a/b"), SystemClock()) as files:
        assert await files.put_absent("x", b"")
    assert (tmp_path / "a" / "b" / "x").exists()
