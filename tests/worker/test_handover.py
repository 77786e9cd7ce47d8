"""Partitions that come and go: what is repeated, and what never is."""

import asyncio
from collections import Counter

import pytest

from tests.worker.scene import GROUP, TOPIC, Scene, done, settled_by, taking
from tests.worker.virtual import on_virtual_time
from trunkline.errors import StreamUnavailable
from trunkline.outcome import Done, Outcome, Retry
from trunkline.stream import Delivery, Mark, note

KEYS = [b"%d" % number for number in range(30)]


def now() -> float:
    return asyncio.get_running_loop().time()


def fill(scene: Scene, times: int, partitions: int) -> None:
    for partition in range(partitions):
        scene.put(*KEYS * times, partition=partition)


def repeated(scene: Scene) -> set[tuple[int, int]]:
    seen = Counter((it.delivery.partition, it.delivery.offset) for it in scene.attempts)
    return {where for where, count in seen.items() if count > 1}


@on_virtual_time
async def test_a_clean_handover_repeats_nothing_and_loses_nothing() -> None:
    scene = Scene(partitions=6, concurrency=20)
    fill(scene, 40, 6)
    first = scene.start(taking(0.1))
    for _ in range(3):
        await asyncio.sleep(3.0)
        scene.start(taking(0.1))
    await asyncio.sleep(2.5)
    await scene.stop(first)
    await scene.finished()
    await scene.end()
    assert repeated(scene) == set()
    assert len({it.member for it in scene.attempts}) == 4
    assert sum(member.worker.account.settled for member in scene.members) == 6 * 40 * 30
    assert all(member.metrics.processors.rebalances.of[GROUP,] for member in scene.members)


@on_virtual_time
async def test_what_was_done_out_of_order_is_not_done_again_by_the_next_owner() -> None:
    async def act(delivery: Delivery) -> Outcome:
        return Retry("not here", 5.0) if delivery.key in (b"3", b"17") else Done()

    scene = Scene()
    fill(scene, 5, 1)
    first = scene.start(act)
    await scene.until(lambda: len(scene.ended[TOPIC, 0]) == 28 * 5)
    await scene.stop(first)
    assert scene.mark().next_offset == 3
    assert len(settled_by(scene.mark()) & set(range(150))) == 28 * 5
    count = len(scene.attempts)
    scene.start(done)
    await scene.finished()
    assert sorted({it.delivery.key for it in scene.attempts[count:]}, key=str) == [b"17", b"3"]
    assert len(scene.attempts) - count == 10
    await scene.end()


@on_virtual_time
async def test_after_a_kill_only_what_was_not_committed_is_repeated() -> None:
    scene = Scene(partitions=3, concurrency=10, commit_seconds=1.0)
    fill(scene, 20, 3)
    first = scene.start(taking(0.05))
    await asyncio.sleep(5.3)
    settled = {(TOPIC, partition): settled_by(scene.mark(partition)) for partition in range(3)}
    await scene.kill(first)
    count = len(scene.attempts)
    scene.start(taking(0.05))
    await scene.finished()
    again = scene.attempts[count:]
    assert not any(
        it.delivery.offset in settled[it.delivery.topic, it.delivery.partition] for it in again
    )
    assert 0 < len(repeated(scene)) <= first.worker.account.settled + 10
    await scene.end()


@on_virtual_time
async def test_one_the_group_has_given_up_joins_again_and_moves_nobodys_mark() -> None:
    scene = Scene(partitions=4, concurrency=10)
    fill(scene, 30, 4)
    first, second = scene.start(taking(0.05)), scene.start(taking(0.05))
    for _ in range(4):
        await asyncio.sleep(1.7)
        membership = first.worker._committer.membership
        assert membership is not None
        scene.storage.kill(membership)  # type: ignore[arg-type]  # only memory's are here
    await scene.finished()
    assert first.worker.account.settled
    assert second.worker.account.settled
    await scene.end()


@on_virtual_time
async def test_runs_that_outlast_the_handover_are_given_up_and_not_heard() -> None:
    cancelled: list[int] = []

    async def act(delivery: Delivery) -> Outcome:
        try:
            await asyncio.sleep(1_000 if delivery.key == b"slow" else 0.01)
        except asyncio.CancelledError:
            cancelled.append(delivery.offset)
            raise
        return Done()

    scene = Scene(partitions=2, revoke_seconds=2.0, concurrency=4)
    slow = [scene.put(b"slow", b"quick", partition=partition)[0] for partition in range(2)]
    first = scene.start(act)
    await scene.until(lambda: len(scene.attempts) == 4)
    begun = now()
    second = scene.start(done)
    await scene.until(lambda: len(second.worker._holdings.places) == 1)
    assert now() - begun == pytest.approx(2, abs=0.6)
    assert cancelled == slow
    assert first.worker.account.abandoned == 2
    await scene.until(lambda: second.worker.account.settled == 1)
    scene.put(*KEYS, partition=0)
    scene.put(*KEYS, partition=1)
    first.processor.act = done
    await scene.until(lambda: first.worker.account.settled == 2 + 30)
    assert not first.task.done(), "those that were given up left no hole among the workers"
    assert len([task for task in asyncio.all_tasks() if task.get_name().startswith(GROUP)]) == 8
    await scene.stop(second)
    await scene.kill(first)
    scene.start(done)
    await scene.finished()
    await scene.end()


@on_virtual_time
async def test_a_handler_that_will_not_be_cancelled_keeps_its_line_to_itself() -> None:
    free = asyncio.Event()

    async def act(delivery: Delivery) -> Outcome:
        while delivery.key == b"stubborn" and not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue
        return Done()

    scene = Scene(revoke_seconds=0.5, concurrency=4)
    scene.put(b"stubborn", b"other")
    member = scene.start(act)
    await scene.until(lambda: len(scene.attempts) == 2)
    membership = member.worker._committer.membership
    assert membership is not None
    scene.storage.kill(membership)  # type: ignore[arg-type]  # only memory's are here
    await scene.until(lambda: member.worker._holdings.in_flight == 1)
    scene.put(b"other")
    await scene.until(lambda: scene.begun.count((b"other", 2)) == 1)
    assert scene.begun.count((b"stubborn", 0)) == 1, "its older run still runs"
    free.set()
    await scene.finished()
    assert scene.begun.count((b"stubborn", 0)) == 2
    await scene.end()


@on_virtual_time
async def test_work_on_other_partitions_goes_on_when_one_is_fenced() -> None:
    scene = Scene(partitions=2)
    member = scene.start(done)
    await scene.until(lambda: len(member.worker._holdings.places) == 2)
    membership = member.worker._committer.membership
    assert membership is not None
    membership._owned = frozenset({(TOPIC, 1)})  # type: ignore[attr-defined]  # memory's
    membership._positions.pop((TOPIC, 0))  # type: ignore[attr-defined]  # memory's
    holding = member.worker._holdings.places[TOPIC, 0]
    member.worker._holdings.admit([Delivery(TOPIC, 0, 0, 0, b"x", b"", ())], now())
    member.worker._runs.wake()
    scene.put(b"x", partition=0)
    scene.put(b"x", partition=1)
    await scene.until(lambda: scene.mark(1) == Mark(1))
    assert list(member.worker._holdings.places) == [(TOPIC, 1)]
    assert scene.mark(0) == Mark(0)
    assert holding.lane.dropped
    await scene.kill(member)


@on_virtual_time
async def test_a_stream_that_goes_back_makes_the_worker_join_anew() -> None:
    scene = Scene()
    scene.put(*KEYS)
    member = scene.start(done)
    await scene.finished()
    membership = member.worker._committer.membership
    assert membership is not None
    membership._positions[TOPIC, 0] = 10  # type: ignore[attr-defined]  # as after a truncation
    scene.put(b"x")
    await scene.finished()
    assert len(scene.attempts) == 31
    assert member.worker._committer.membership is not membership
    await scene.end()


@on_virtual_time
async def test_a_note_of_somebody_elses_is_not_used_and_everything_is_done() -> None:
    scene = Scene()
    scene.put(*KEYS)
    scene.ended[TOPIC, 0] |= set(range(5))
    dict.__setitem__(scene.marks, (GROUP, (TOPIC, 0)), Mark(5, "set by a tool"))
    member = scene.start(done)
    await scene.finished()
    assert sorted(offset for _, offset in scene.begun) == list(range(5, 30))
    assert member.metrics.processors.notes_ignored.of[GROUP,] == 1
    await scene.end()


@on_virtual_time
async def test_gaps_and_records_that_expire_hold_nothing_up() -> None:
    scene = Scene()
    scene.put(*KEYS)
    scene.storage.skip((TOPIC, 0), 50)
    scene.put(*KEYS)
    text, _ = note.encode(3, note.runs([3, 9, 20]), 25)
    dict.__setitem__(scene.marks, (GROUP, (TOPIC, 0)), Mark(3, text))
    scene.ended[TOPIC, 0] |= set(range(25)) - {3, 9, 20}
    scene.storage.forget((TOPIC, 0), 7)
    scene.start(done)
    await scene.until(lambda: scene.mark() == Mark(110))
    await scene.end()


@on_virtual_time
async def test_the_group_is_joined_again_when_the_stream_comes_back() -> None:
    scene = Scene()
    joining = scene.stream.join
    failures = 0

    async def join(*arguments: object) -> object:
        nonlocal failures
        if now() < 100:
            failures += 1
            raise StreamUnavailable("no broker")
        return await joining(*arguments)  # type: ignore[arg-type]  # passed on as they are

    scene.stream.join = join  # type: ignore[assignment,method-assign]  # with a broker away
    scene.put(*KEYS)
    scene.start(done)
    await scene.finished()
    assert now() < 120
    assert 5 < failures < 30, "with growing patience"
    await scene.end()
