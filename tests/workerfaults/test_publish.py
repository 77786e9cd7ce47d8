"""`trunkline process publish` under faults, on both streams: the lake holds each record once."""

import asyncio
import json
import random
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.faults.report import report
from tests.load.process import DoorProcess
from tests.workerfaults.conftest import next_prefix
from tests.workerfaults.journal import Event
from tests.workerfaults.site import PUBLISH, Site, all_killed, until

GROUP = "publish"
both = pytest.mark.parametrize(
    "site", ["embedded", pytest.param("kafka", marks=pytest.mark.e2e)], indirect=True
)


@pytest.fixture
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    if request.param == "kafka":
        made = Site(tmp_path, request.getfixturevalue("broker").url, prefix=next_prefix())
    else:
        made = Site(tmp_path, f"sqlite:///{tmp_path}/stream.db")
    async with made.opened():
        yield made


def lake(site: Site) -> Counter[Event]:
    """How often each record is found by a reader's glob."""
    found: Counter[Event] = Counter()
    for path in site.store.glob("lake/date=*/kind=*/*.jsonl"):
        for text in path.read_bytes().split(b"\n")[:-1]:
            line = json.loads(text)
            found[line["topic"], line["partition"], line["offset"]] += 1
    return found


def audit(site: Site) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "trunkline", "audit"],
        env=site.environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


async def exact(site: Site, name: str, note: str = "") -> None:
    """Each record of the stream is one line of the lake, and the auditor says so too."""
    stored = {(it.topic, it.partition, it.offset) for it in await site.stored()}
    found = lake(site)
    missing, double = stored - set(found), {it for it, n in found.items() if n > 1}
    strange = set(found) - stored
    code, words = await asyncio.to_thread(audit, site)
    report(
        f"worker, {name}: {len(stored):,} records, {len(missing)} missing in the lake, "
        f"{len(double)} twice; audit exits {code}{'; ' if note else ''}{note}"
    )
    assert (missing, double, strange) == (set(), set(), set())
    assert await site.dead() == {}
    assert code == 0, words


@both
async def test_kill_9_again_and_again_leaves_the_lake_exact(
    site: Site, request: pytest.FixtureRequest
) -> None:
    process = site.process(PUBLISH)
    source = random.Random(9)  # noqa: S311  # when to kill
    rounds = 4
    with all_killed(process):
        async with site.fed(rate=300):
            for _ in range(rounds):
                await site.restart(process)
                await published(site, 300)
                await asyncio.sleep(source.random() / 2)
                site.kill(process)
        await site.restart(process)
        await site.settled(GROUP)
        assert process.stop() == 0
    stream = request.node.callspec.params["site"]
    await exact(site, f"{stream}: publish, kill -9 x{rounds}")


async def published(site: Site, more: int) -> None:
    before = sum(lake(site).values())

    async def enough() -> bool:
        return sum((await asyncio.to_thread(lake, site)).values()) >= before + more

    await until(enough, f"{more} more lines in the lake", 60)


async def test_a_store_that_is_gone_for_a_while_makes_nothing_dead(alone: Site) -> None:
    quick = {
        "TRUNKLINE_WORKER_RETRY_ATTEMPTS_MAX": "3",
        "TRUNKLINE_WORKER_RETRY_FIRST_SECONDS": "0.05",
        "TRUNKLINE_WORKER_RETRY_MOST_SECONDS": "0.2",
        "TRUNKLINE_WORKER_RETRY_SECONDS_MAX": "1",
    }
    process = alone.process(PUBLISH, **quick)
    away = alone.store.with_name("away")
    with all_killed(process):
        await alone.restart(process)
        async with alone.fed(rate=100):
            await published(alone, 50)
            alone.store.rename(away)
            await asyncio.sleep(3)  # longer than an event would be tried
            assert process.running
            away.rename(alone.store)
            await published(alone, 150)
        await alone.settled(GROUP)
        assert process.stop() == 0
    await exact(alone, "embedded: publish, store gone for 3 s")


async def test_a_full_disk_makes_nothing_dead(alone: Site) -> None:
    process = alone.process(PUBLISH, TRUNKLINE_WORKER_RETRY_ATTEMPTS_MAX="3")
    with all_killed(process):
        await alone.restart(process)
        async with alone.fed(rate=100):
            await published(alone, 50)
            limit(process, 64)
            await asyncio.sleep(3)
            assert process.running, process.log[-3000:]
            limit(process, resource.RLIM_INFINITY)
            await published(alone, 150)
        await alone.settled(GROUP)
        assert process.stop() == 0
    await exact(alone, "embedded: publish, no file may grow for 3 s")


def limit(process: DoorProcess, size: int) -> None:
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "store"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.e2e  # mounting needs root
async def test_a_store_filled_by_others_makes_nothing_dead(small_disk: Path, shared: Site) -> None:
    process = shared.process(PUBLISH, TRUNKLINE_WORKER_RETRY_ATTEMPTS_MAX="3")
    with all_killed(process):
        await shared.restart(process)
        async with shared.fed(rate=100):
            await published(shared, 50)
            hog = small_disk / "hog"
            with hog.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4_096))
                except OSError:
                    pass  # now it is full
            await asyncio.sleep(3)
            assert process.running
            hog.unlink()
            await published(shared, 150)
        await shared.settled(GROUP)
        assert process.stop() == 0
    await exact(shared, "kafka: publish, store full for 3 s")


@both
async def test_two_publishers_never_publish_twice(
    site: Site, request: pytest.FixtureRequest
) -> None:
    """On Kafka they share the partitions; embedded the second is refused, and comes after."""
    first, second = site.process(PUBLISH), site.process(PUBLISH)
    stream = request.node.callspec.params["site"]
    with all_killed(first, second):
        await site.restart(first)
        async with site.fed(rate=300):
            await published(site, 100)
            if stream == "kafka":
                await site.restart(second)
            await published(site, 300)
            first.signal(signal.SIGSTOP)  # to the group it is dead, but it is not
            if stream == "kafka":
                await asyncio.sleep(9)
                await published(site, 300)
            first.signal(signal.SIGCONT)
            await published(site, 300)
        await site.settled(GROUP)
        assert first.stop() == 0
    await exact(site, f"{stream}: publish, one stands still and wakes up as a zombie")
