"""Three processes of one group on real Kafka: killed, asked to leave, crowded by a fourth."""

import asyncio
import random
import time
from itertools import pairwise

import pytest

from tests.workerfaults.checker import pauses_after, quantile, silences
from tests.workerfaults.journal import Journal, count
from tests.workerfaults.program import Obedient
from tests.workerfaults.site import Site, all_killed
from trunkline.clock import SystemClock
from trunkline.metrics import Metrics
from trunkline.worker.worker import Worker

pytestmark = pytest.mark.e2e

KILLS = 5


async def test_kill_9_of_one_of_three_again_and_again(shared: Site) -> None:
    crew = [shared.process() for _ in range(3)]
    source = random.Random(4)  # noqa: S311  # whom to kill, and when
    with all_killed(*crew):
        await asyncio.gather(*(shared.restart(one) for one in crew))
        async with shared.fed():
            await shared.begun(300)
            for number in range(KILLS):
                victim = crew[number % 3]
                await asyncio.sleep(source.random())
                shared.kill(victim)
                await shared.restart(victim)
                await shared.begun(500)
        await shared.settled()
        assert [one.stop() for one in crew] == [0, 0, 0]
    silent = silences(shared.runs(), shared.deaths)
    pauses = pauses_after(shared.runs(), shared.deaths)
    note = (
        f"silence of a killed one's partitions p50 {quantile(silent, 0.5):.1f} s, "
        f"p99 {quantile(silent, 0.99):.1f} s ({len(silent)} partitions), "
        f"of any partition p50 {quantile(pauses, 0.5):.1f} s, p99 {quantile(pauses, 0.99):.1f} s"
    )
    summary = await shared.judge(f"kafka: kill -9 of one of three x{KILLS}", note)
    assert summary.repeats < summary.events / 4
    assert len(silent) >= KILLS, "the dead had no partitions"


async def test_sigterm_of_one_of_three_repeats_nothing(shared: Site) -> None:
    crew = [shared.process() for _ in range(3)]
    with all_killed(*crew):
        await asyncio.gather(*(shared.restart(one) for one in crew))
        async with shared.fed():
            await shared.begun(300)
            for number in range(6):
                leaver = crew[number % 3]
                assert await asyncio.to_thread(leaver.stop) == 0
                await shared.restart(leaver)
                await shared.begun(200)
        await shared.settled()
        assert [one.stop() for one in crew] == [0, 0, 0]
    summary = await shared.judge("kafka: SIGTERM of one of three x6")
    assert summary.repeats == 0
    pids = {run.pid for run in shared.runs()}
    assert len(pids) >= 7, "leaving and coming moved partitions"


async def test_a_storm_of_joining_and_leaving_leaves_room_for_work(shared: Site) -> None:
    crew = [shared.process() for _ in range(3)]
    with all_killed(*crew):
        await asyncio.gather(*(shared.restart(one) for one in crew))
        async with shared.fed():
            await shared.begun(200)
            before, began = count(shared.journal), time.monotonic()
            for _ in range(5):
                await _guest(shared, 2.0)
                await asyncio.sleep(2.0)
            worked, seconds = count(shared.journal) - before, time.monotonic() - began
        await shared.settled()
        assert [one.stop() for one in crew] == [0, 0, 0]
    starts = [run.began for run in shared.runs() if began < run.began < began + seconds]
    longest = max(b - a for a, b in pairwise(starts))
    note = (
        f"{worked:,} runs in {seconds:.0f} s of storm (200 a second came in), "
        f"longest pause of all {longest:.1f} s"
    )
    summary = await shared.judge("kafka: a fourth joins or leaves every 2 s", note)
    assert summary.repeats == 0, "every handover was clean"
    assert worked > 1_000


async def _guest(site: Site, seconds: float) -> None:
    """A member in this very process: it comes and goes when we say."""
    tested = Obedient(site.group, site.topic, Journal(site.journal))
    worker = Worker(
        tested,
        site.stream,
        site.settings.worker,
        SystemClock(),
        Metrics(),
        dead_topic=site.dead_topic,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    await asyncio.sleep(seconds)
    stop.set()
    await running
