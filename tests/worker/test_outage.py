"""What an outage, one poison event, and a flood of them come to."""

import asyncio
import logging
from dataclasses import dataclass

import pytest

from tests.worker.scene import GROUP, Scene, Scripted, done
from tests.worker.virtual import on_virtual_time
from trunkline.outcome import Dead, Done, Outcome, Retry
from trunkline.stream import Delivery, Mark

KEYS = [b"%d" % number for number in range(30)]


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass(eq=False)
class Storing(Scripted):
    """All of its events need the store, but for those of one key."""

    def circuit(self, delivery: Delivery) -> str | None:
        return None if delivery.key == b"free" else "store"


class Store:
    def __init__(self) -> None:
        self.away = False
        self.fatal = False
        self.calls: list[tuple[float, bytes | None]] = []

    async def act(self, delivery: Delivery) -> Outcome:
        if delivery.key == b"free":
            return Done()
        self.calls.append((now(), delivery.key))
        await asyncio.sleep(0.05)
        if self.away or delivery.value == b"poison":
            return Retry("the store is away", circuit="store", fatal=self.fatal and self.away)
        return Done()


@pytest.mark.parametrize("fatal", [False, True])
@pytest.mark.parametrize("keys", [KEYS, KEYS[:1]], ids=["many lines", "one line"])
def test_an_outage_of_an_hour_kills_nothing_and_ends_by_itself(
    keys: list[bytes],
    fatal: bool,  # noqa: FBT001
) -> None:
    @on_virtual_time
    async def run() -> None:
        scene, store = Scene(commit_seconds=0.1), Store()
        member = scene.start(store.act, kind=Storing)
        of = member.metrics.processors
        scene.put(*keys)
        await scene.finished()
        store.away, store.fatal = True, fatal
        scene.put(*keys, *keys, b"free")
        await scene.until(lambda: of.circuit_open.of.get(("store",)) == 1)
        began = len(store.calls)
        await asyncio.sleep(3_600)
        assert len(scene.ended[("calls", 0)]) == len(keys) + 1, "what does not need it goes on"
        assert len(store.calls) - began <= len(keys) + 130, "probes, one at a time, twice a minute"
        assert member.worker.healthy()
        store.away, back = False, now()
        await scene.finished()
        assert now() - back < 35
        assert of.circuit_open.of["store",] == 0
        assert scene.letters == []
        await scene.end()

    run()


@on_virtual_time
async def test_an_outage_is_not_held_against_what_fails_later_for_itself() -> None:
    scene, store = Scene(retry_attempts_max=5, commit_seconds=0.1), Store()
    store.away, store.fatal = True, True
    tries = 0

    async def act(delivery: Delivery) -> Outcome:
        nonlocal tries
        outcome = await store.act(delivery)
        if isinstance(outcome, Done):
            tries += 1
            return Retry("not yet") if tries < 5 else Done()
        return outcome

    scene.start(act, kind=Storing)
    scene.put(b"k")
    await asyncio.sleep(300)
    store.away = False
    await scene.finished()
    assert (tries, scene.letters) == (5, [])
    await scene.end()


@on_virtual_time
async def test_one_that_the_store_never_takes_dies_while_others_pass() -> None:
    scene, store = Scene(), Store()
    scene.start(store.act, kind=Storing)
    poison = scene.put(b"poison", value=b"poison")
    for number in range(300):
        scene.put(KEYS[number % 30])
        await asyncio.sleep(0.5)
    await scene.finished()
    (letter,) = scene.letters
    assert (letter.offset, letter.reason) == (poison[0], "retries exhausted")
    assert letter.attempts >= 10
    await scene.end()


@on_virtual_time
async def test_poisons_that_open_the_circuit_do_not_keep_it_open() -> None:
    scene, store = Scene(), Store()
    member = scene.start(store.act, kind=Storing)
    table = member.metrics.processors.circuit_open.of
    scene.put(*[b"p%d" % number for number in range(25)], value=b"poison")
    await scene.until(lambda: table.get(("store",)) == 1)
    good = scene.put(*KEYS)
    await scene.until(lambda: scene.ended["calls", 0] >= set(good))
    assert now() < 60
    await scene.stop(member)
    scene.check()


@on_virtual_time
async def test_a_flood_of_dead_letters_stops_all_until_an_operator_resumes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    poisoned = True

    async def act(_: Delivery) -> Outcome:
        await asyncio.sleep(0.1)
        return Dead("poison") if poisoned else Done()

    scene = Scene(concurrency=10)
    member = scene.start(act)
    table = member.metrics.processors.circuit_open.of
    assert table == {("dead_letters",): 0}
    scene.put(*[b"%d" % number for number in range(400)])
    await scene.until(lambda: table["dead_letters",] == 1)
    for _ in range(30):
        await asyncio.sleep(60)
        assert member.worker.healthy(), "it waits for the operator; a restart would not help"
        assert 61 <= len(scene.letters) <= 61 + 9, "but for those that were dying already"
    alarms = [it for it in caplog.records if it.levelno == logging.ERROR]
    assert [it.getMessage() for it in alarms] == [f"{GROUP}: the circuit dead_letters has opened"]
    poisoned = False
    member.worker.resume()
    await scene.finished()
    assert table["dead_letters",] == 0
    assert len(scene.letters) <= 61 + 10, "what was judged before, and no more"
    await scene.end()


@on_virtual_time
async def test_a_flooded_worker_stops_when_asked_and_another_begins_anew() -> None:
    async def act(_: Delivery) -> Outcome:
        return Dead("poison")

    scene = Scene(circuit_dead_max=5)
    member = scene.start(act)
    scene.put(*[b"%d" % number for number in range(50)])
    await scene.until(lambda: len(scene.letters) > 5)
    await asyncio.sleep(60)
    await scene.stop(member)
    stopped = len(scene.letters)
    assert scene.mark() != Mark(50)
    scene.start(done)
    await scene.finished()
    assert len(scene.letters) == stopped
    await scene.end()
