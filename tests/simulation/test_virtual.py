"""The simulator itself: time that jumps, processes that stand still, a group that fences."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.simulation.coordinator import Answer, Coordinator
from tests.simulation.logs import Logs
from tests.simulation.virtual import Process, Unquiet, VirtualLoop, run
from trunkline.stream import Mark, Place


def play(work: Coroutine[Any, Any, None], loop: VirtualLoop | None = None) -> VirtualLoop:
    loop = loop or VirtualLoop(steps_max=10_000, seconds_max=10_000.0)
    try:
        run(loop, work)
    finally:
        loop.unwind()
    return loop


def test_time_jumps_to_the_next_timer() -> None:
    async def sleep() -> None:
        await asyncio.gather(asyncio.sleep(3600.0), asyncio.sleep(60.0))

    loop = play(sleep())
    assert loop.time() == 3600.0
    assert loop.steps < 30


def test_who_waits_for_nothing_is_found_out() -> None:
    with pytest.raises(Unquiet):
        play(asyncio.Event().wait())  # type: ignore[arg-type]


def test_who_never_rests_is_found_out() -> None:
    async def restless() -> None:
        while True:  # noqa: ASYNC110  # that is the point
            await asyncio.sleep(0)

    with pytest.raises(Unquiet):
        play(restless())


def test_a_paused_process_stands_still_and_then_goes_on_late() -> None:
    loop = VirtualLoop(10_000, 10_000.0)
    process = Process(loop, "p", skew_seconds=5.0)
    seen: list[float] = []

    async def tick() -> None:
        for _ in range(3):
            await asyncio.create_task(asyncio.sleep(1.0))
            seen.append(loop.time())

    async def scene() -> None:
        ticking = process.start(tick(), "tick")
        await asyncio.sleep(1.5)
        process.pause()
        await asyncio.sleep(10.0)
        assert seen == [1.0]
        process.resume()
        await asyncio.wait({ticking})

    play(scene(), loop)
    assert seen == [1.0, 11.5, 12.5]
    assert process.clock.now() - 1_700_000_000 == loop.time() + 5.0


def test_a_crashed_process_is_not_heard_of_again() -> None:
    loop = VirtualLoop(10_000, 10_000.0)
    process = Process(loop, "p")
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1.0)
        finally:
            seen.append("ended")

    async def scene() -> None:
        task = process.start(work(), "work")
        await asyncio.sleep(0.5)
        process.crash()
        task.cancel()
        await asyncio.sleep(10.0)
        assert seen == []

    play(scene(), loop)


def group_of(loop: VirtualLoop) -> Coordinator:
    logs = Logs()
    logs.create("t", 4)
    return Coordinator(loop, logs.places, random.Random(0), lambda _: None)  # noqa: S311


def test_partitions_are_shared_and_a_commit_of_another_generation_is_refused() -> None:
    loop = VirtualLoop(10_000, 10_000.0)
    group = group_of(loop)
    place: Place = ("t", 0)

    async def scene() -> None:
        generation, all_of_them = await group.join("a", ["t"])
        assert len(all_of_them) == 4
        second = group.join("b", ["t"])
        assert group.beat("a", generation) is Answer.REBALANCE
        assert group.commit("a", generation, {place: Mark(1)}) is Answer.OK
        (later, of_a), (_, of_b) = await asyncio.gather(group.join("a", ["t"]), second)
        assert not of_a & of_b
        assert len(of_a | of_b) == 4
        assert group.commit("a", generation, {place: Mark(2)}) is Answer.STRANGER
        assert group.commit("a", later, {place: Mark(3)}) is Answer.OK

    play(scene(), loop)
    assert group.marks[place] == Mark(3)


def test_who_is_silent_for_a_session_is_out_and_who_comes_late_too() -> None:
    loop = VirtualLoop(10_000, 10_000.0)
    group = group_of(loop)

    async def scene() -> None:
        generation, _ = await group.join("a", ["t"])
        await asyncio.sleep(5.0)
        assert group.beat("a", generation) is Answer.OK
        await asyncio.sleep(7.0)
        assert group.beat("a", generation) is Answer.STRANGER
        generation, _ = await group.join("a", ["t"])
        joining = group.join("b", ["t"])
        for _ in range(10):
            await asyncio.sleep(1.0)
            group.beat("a", generation)
        assert len(joining.result()[1]) == 4
        assert group.beat("a", generation) is Answer.STRANGER

    play(scene(), loop)
