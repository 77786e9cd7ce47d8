"""Handlers of every bad habit, in real processes on the embedded stream."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.load.process import DoorProcess
from tests.workerfaults.journal import DONE, Event
from tests.workerfaults.site import Site, all_killed, until

QUICK_DEATH = {
    "TRUNKLINE_WORKER_RETRY_ATTEMPTS_MAX": "3",
    "TRUNKLINE_WORKER_RETRY_FIRST_SECONDS": "0.05",
    "TRUNKLINE_WORKER_DRAIN_SECONDS": "1",
    "TRUNKLINE_WORKER_CONCURRENCY": "20",
}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path, f"sqlite:///{tmp_path}/stream.db", settings=QUICK_DEATH)
    async with made.opened():
        yield made


def among(wish: Mapping[str, Any], count: int = 60) -> list[Mapping[str, Any]]:
    """One bad event, then more of its own key, among the good of other keys."""
    good = [{"do": "slow", "ms": 2, "key": f"k-{number % 12}"} for number in range(count)]
    bad = {"key": "bad", **wish}
    return [*good[: count // 2], bad, *good[count // 2 :], {"do": "done", "key": "bad"}]


async def test_one_that_hangs_holds_only_its_key_and_sigterm_names_it(site: Site) -> None:
    process = site.process()
    with all_killed(process):
        await site.put(among({"do": "hang"}))
        process.start()
        (hanging,) = [
            (it.topic, it.partition, it.offset)
            for it in await site.stored()
            if it.value and b"hang" in it.value
        ]
        await site.begun(61, since=0)  # all but the one behind it

        async def only_it_is_left() -> bool:
            return set(await site.behind()) == {hanging[:2]}

        await until(only_it_is_left, "all others are settled")
        process.terminate()
        assert await asyncio.to_thread(process.wait, 8) == 0
        named = [line for line in process.log_lines() if "still running" in str(line["message"])]
    assert [(it["topic"], it["partition"], it["offset"]) for it in named] == [hanging], process.log
    (last,) = [
        it for it in await site.stored() if it.key == b"bad" and b"done" in (it.value or b"")
    ]
    waiting = [hanging, (last.topic, last.partition, last.offset)]
    await site.judge("embedded: a handler hangs, SIGTERM", unsettled=waiting)


async def test_one_that_raises_ends_in_dead_with_all_that_is_known(site: Site) -> None:
    process = site.process()
    with all_killed(process):
        await site.put(among({"do": "raise"}))
        process.start()
        await site.settled()
        assert process.stop() == 0
    ((event, letter),) = (await site.dead()).items()
    assert letter.attempts == 3
    assert letter.exception == "RuntimeError"
    assert letter.message == "as the event says"
    assert letter.processor == site.group
    assert letter.key == b"bad"
    assert [run.how for run in site.runs() if run.event == event] == ["raised"] * 3
    await site.judge("embedded: a handler raises")


@pytest.mark.parametrize("wish", ["unheard", "exit"])
async def test_what_no_handler_may_catch_ends_the_process_and_loses_nothing(
    site: Site, wish: str
) -> None:
    process = site.process()
    with all_killed(process):
        await site.put(among({"do": wish}))
        process.launch()
        code = await asyncio.to_thread(process.wait, 20)
    assert code != 0, process.log
    (bad,) = [it for it in await site.stored() if it.value and wish.encode() in it.value]
    event = bad.topic, bad.partition, bad.offset
    behind = await site.behind()
    assert event[:2] in behind, "its mark must not have passed it"
    assert event not in await site.dead()
    runs = [run for run in site.runs() if run.line[2] == b"bad"]
    assert [run.event for run in runs] == [event], "nobody else is to try it, nor what follows it"


async def test_one_that_blocks_the_loop_costs_only_time(site: Site) -> None:
    process = site.process()
    with all_killed(process):
        process.start()
        await site.put(among({"do": "block", "ms": 3_000}))
        await site.settled()
        assert process.stop() == 0
    await site.judge("embedded: a handler blocks the loop for 3 s")


def leave(process: DoorProcess, more: int) -> None:
    """It may take so much more memory than it has."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))


async def test_one_that_takes_all_memory_ends_in_dead(site: Site) -> None:
    process = site.process()
    with all_killed(process):
        process.start()
        leave(process, 512 * 1024 * 1024)
        await site.put(among({"do": "allocate"}))
        await site.settled()
        assert process.stop() == 0
    ((_, letter),) = (await site.dead()).items()
    assert letter.exception == "MemoryError"
    await site.judge("embedded: a handler allocates without end")


@pytest.mark.xfail(
    strict=True, reason="a handler that swallows its cancellation is awaited for ever"
)
async def test_one_that_will_not_be_cancelled_does_not_keep_the_process(site: Site) -> None:
    process = site.process()
    with all_killed(process):
        await site.put(among({"do": "stubborn"}))
        process.start()
        await site.begun(61, since=0)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 6) is not None


async def test_one_that_kills_the_process_loses_nothing(site: Site) -> None:
    event = await killed_again_and_again(site)
    behind = await site.behind()
    unsettled = [
        (it.topic, it.partition, it.offset)
        for it in await site.stored()
        if (it.topic, it.partition) in behind
    ]
    done = len({run.event for run in site.runs() if run.how == DONE})
    assert event[:2] in behind or event in await site.dead()
    note = f"{done} of 61 others were done"
    await site.judge("embedded: an event kills its process x6", note, unsettled=unsettled)


@pytest.mark.xfail(strict=True, reason="starts are not counted, nothing is committed before")
async def test_one_that_kills_the_process_ends_in_dead_and_the_others_go_on(site: Site) -> None:
    event = await killed_again_and_again(site)
    assert event in await site.dead()
    await site.judge("embedded: an event kills its process, and is buried")


async def killed_again_and_again(site: Site) -> Event:
    process = site.process()
    with all_killed(process):
        await site.put(among({"do": "kill"}))
        for _ in range(6):
            process.launch()
            pid = process.pid
            await died_or_settled(site, process)
            site.deaths[pid] = time.monotonic()
            process.kill()
    (bad, _) = [it for it in await site.stored() if it.key == b"bad"]
    return (bad.topic, bad.partition, bad.offset)


async def died_or_settled(site: Site, process: DoorProcess) -> None:
    async def either() -> bool:
        return not process.running or not await site.behind()

    await until(either, "the event strikes, or is buried", 20)


async def test_a_second_process_of_a_group_is_refused_in_words(site: Site) -> None:
    first, second = site.process(), site.process()
    with all_killed(first, second):
        first.start()
        second.launch()
        code = await asyncio.to_thread(second.wait, 20)
        assert code not in (0, None)
        last = second.log.strip().splitlines()[-1]
        assert last == (
            f"trunkline: group {site.group} already has a consumer: process {first.pid}"
        )
        assert "Traceback" not in second.log
        await site.put(among({"do": "done"}))
        await site.settled()
        assert first.stop() == 0
        second.start()  # what is free again can be had
    await site.judge("embedded: a second process of the group")
