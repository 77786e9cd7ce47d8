"""Deferred events: durable first, never too soon, once, whatever befalls the worker meanwhile."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from tests.worker.scene import spec
from tests.worker.virtual import EPOCH, VirtualClock, on_virtual_time
from trunkline.metrics import Metrics
from trunkline.outcome import Dead, Deferred, Done, Outcome, Retry
from trunkline.settings import WorkerSection
from trunkline.stream import Delivery
from trunkline.stream.memory import MemoryStream
from trunkline.stream.memory_storage import MemoryStorage
from trunkline.worker import deferral, letters
from trunkline.worker.deferral import Tiers
from trunkline.worker.processor import Line
from trunkline.worker.worker import Worker

NAMES = {1: "t.1s", 10: "t.10s", 60: "t.1m", 600: "t.10m", 3_600: "t.1h"}
TIERS = Tiers(NAMES)
SPECS = [spec("other", 2), spec("dead", 1), *(spec(name, 2) for name in NAMES.values())]
Act = Callable[[Delivery], Awaitable[Outcome]]


def unix() -> float:
    return EPOCH + asyncio.get_running_loop().time()


class Teams:
    topics: Sequence[str] = ("other",)
    defers = True

    def __init__(self, act: Act, name: str = "teams") -> None:
        self.act = act
        self.name = name
        self.handled: list[tuple[float, Delivery]] = []
        self.running: set[Line] = set()

    def line(self, delivery: Delivery) -> Line:
        return delivery.topic, delivery.partition, delivery.key or b""

    def take(self, waiting: Sequence[Delivery], now: float) -> int | float:
        del now
        return len(waiting[:1])

    def circuit(self, delivery: Delivery) -> str | None:
        del delivery
        return None

    async def handle(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        (delivery,) = deliveries
        self.handled.append((unix(), delivery))
        return [await self.act(delivery)]


class House:
    """Workers on one storage."""

    def __init__(self, **limits: Any) -> None:
        self.storage = MemoryStorage()
        self.limits = limits
        self.workers: list[tuple[Worker, Teams, Metrics, asyncio.Event, asyncio.Task[None]]] = []
        MemoryStream(SPECS, self.storage)

    def start(self, act: Act, name: str = "teams") -> tuple[Worker, Teams, Metrics]:
        metrics, teams, stop = Metrics(), Teams(act, name), asyncio.Event()
        worker = Worker(
            teams,
            MemoryStream(SPECS, self.storage),
            WorkerSection(**self.limits),
            VirtualClock(),
            metrics,
            dead_topic="dead",
            tiers=TIERS,
            chance=lambda: 0.0,
        )
        task = asyncio.create_task(worker.run(stop))
        self.workers.append((worker, teams, metrics, stop, task))
        return worker, teams, metrics

    def put(self, *keys: bytes | None, value: bytes | None = b"{}") -> None:
        for key in keys:
            now_ms = int(unix() * 1_000)
            self.storage.put(("other", 0), key, value, now_ms, (("h", b"x"),))

    async def until(self, holds: Callable[[], object], seconds: float = 20_000) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                self.check()
                await asyncio.sleep(0.2)

    def check(self) -> None:
        for worker, *_, task in self.workers:
            assert task.done() or worker.account.balanced, worker.account

    def at_the_end(self, group: str = "teams") -> bool:
        places = self.storage.places(["other", *NAMES.values()])
        ends = {place: self.storage.ends[place][1] for place in places}
        return all(self.storage.mark(group, it).next_offset == end for it, end in ends.items())

    async def kill(self) -> None:
        worker, *_, task = self.workers[-1]
        self.storage.kill(worker._committer.membership)  # type: ignore[arg-type]
        task.cancel()
        await asyncio.wait({task})

    async def stop(self) -> None:
        for worker, _, _, stop, task in self.workers:
            stop.set()
            if not task.done():
                await task
            assert worker.account.balanced
            assert worker.account.in_flight == 0

    def hops(self) -> int:
        logs = self.storage.logs
        return sum(len(log) for place, log in logs.items() if place[0] in TIERS)


def later(seconds: float, times: int = 1) -> Act:
    """Defers each event so often, by so much, and then is done with it."""
    seen: dict[tuple[int, int], int] = {}

    async def act(delivery: Delivery) -> Outcome:
        at = delivery.partition, delivery.offset
        seen[at] = seen.get(at, 0) + 1
        return Deferred(unix() + seconds) if seen[at] <= times else Done()

    return act


@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.0, 7.25, 61.0, 4_000.5])
def test_it_is_handled_once_when_it_is_due_and_as_it_was(seconds: float) -> None:
    @on_virtual_time
    async def run() -> None:
        house = House()
        worker, teams, metrics = house.start(later(seconds))
        await asyncio.sleep(3)
        house.put(b"k", None)
        house.put(b"null", value=None)
        await house.until(lambda: len(teams.handled) == 6 and house.at_the_end())
        first, second = teams.handled[:3], teams.handled[3:]
        assert sorted(it.offset for _, it in second) == [0, 1, 2]
        for at, delivery in second:
            began, original = first[delivery.offset]
            assert delivery == original, "with its own topic, offset, time, headers, nulls"
            hops = seconds / 3_600 + 30
            assert began + seconds <= at <= began + seconds + 0.05 * hops
        await house.stop()
        of = metrics.processors
        assert of.settled.of["teams", "deferred"] == of.settled.of["teams", "done"] == 3
        assert of.delivered.of["teams",] == 6, "hops are no events"
        assert house.hops() > 3 or seconds <= 1.0
        assert worker.healthy()

    run()


@on_virtual_time
async def test_the_hour_that_nothing_moves_is_no_illness_and_no_work() -> None:
    house = House(stall_seconds=60.0)
    worker, teams, metrics = house.start(later(3_000))
    house.put(b"k")
    await house.until(lambda: len(teams.handled) == 1)
    for _ in range(25):
        await asyncio.sleep(100)
        assert worker.healthy()
        assert worker.facts().in_flight == 0
        assert metrics.processors.watermark_age_seconds.of["teams",] == 0
    await house.until(lambda: len(teams.handled) == 2)
    await house.stop()


@on_virtual_time
async def test_it_survives_restarts_and_kills_and_is_never_too_soon() -> None:
    house = House()
    act = later(100)
    house.start(act)
    keys = [b"%d" % number for number in range(50)]
    house.put(*keys)
    ends = itertools.cycle([house.kill, house.stop])
    for _ in range(9):
        await asyncio.sleep(9)
        await next(ends)()
        house.start(act)
    await house.until(house.at_the_end)
    handled = [it for _, teams, *_ in house.workers for it in teams.handled]
    deferred = [at for at, delivery in handled if at < EPOCH + 50]
    done = [(at, it) for at, it in handled if at >= EPOCH + 50]
    assert len(deferred) == 50
    assert {it.offset for _, it in done} == set(range(50))
    assert all(EPOCH + 100 <= at <= EPOCH + 112 for at, _ in done)
    await house.stop()


@on_virtual_time
async def test_others_deferrals_are_none_of_ours() -> None:
    house = House()
    _, teams, metrics = house.start(later(5))
    _, watch, others = house.start(later(20), "watch")
    house.put(*[b"%d" % number for number in range(20)])
    await house.until(lambda: house.at_the_end() and house.at_the_end("watch"))
    await house.stop()
    assert len(teams.handled) == len(watch.handled) == 40
    for one, name in ((metrics, "teams"), (others, "watch")):
        assert one.processors.delivered.of[name,] == 40
        assert one.processors.settled.of[name, "deferred"] == 20


@on_virtual_time
async def test_it_is_deferred_only_when_that_is_durable() -> None:
    house = House()
    _, teams, metrics = house.start(later(10))
    await asyncio.sleep(2)
    taken = {name: house.storage.topics.pop(name) for name in ("t.10s", "t.1s")}
    house.put(b"k", b"l")
    await asyncio.sleep(30)
    assert metrics.processors.settled.of["teams", "deferred"] == 0
    assert house.storage.mark("teams", ("other", 0)).next_offset == 0
    house.storage.topics |= taken
    await house.until(lambda: len(teams.handled) == 4 and house.at_the_end())
    assert metrics.processors.settled.of["teams", "deferred"] == 2, "and it was asked only once"
    await house.stop()


@on_virtual_time
async def test_one_key_is_a_line_among_the_deferred_and_others_do_not_wait_for_it() -> None:
    running: set[bytes | None] = set()
    seen: set[int] = set()

    async def act(delivery: Delivery) -> Outcome:
        if delivery.offset not in seen:
            seen.add(delivery.offset)
            return Deferred(EPOCH + 10)
        assert delivery.key not in running
        running.add(delivery.key)
        await asyncio.sleep(100 if delivery.key == b"slow" else 1)
        running.discard(delivery.key)
        return Done()

    house = House()
    _, teams, _ = house.start(act)
    house.put(b"slow", b"slow", *[b"%d" % number for number in range(20)], b"slow")
    await house.until(house.at_the_end)
    again = teams.handled[23:]
    assert [it.offset for _, it in again if it.key == b"slow"] == [0, 1, 22]
    assert all(at < EPOCH + 13 for at, it in again if it.key != b"slow")
    await house.stop()


@on_virtual_time
async def test_what_comes_of_it_later_ends_as_any_event_does() -> None:
    seen: set[int] = set()

    async def act(delivery: Delivery) -> Outcome:
        if delivery.offset not in seen:
            seen.add(delivery.offset)
            return Deferred(unix() + 2)
        return Dead("no") if delivery.key == b"dead" else Retry("not yet", 0.1)

    house = House(retry_attempts_max=3)
    _, teams, metrics = house.start(act)
    house.put(b"dead", b"retry")
    await house.until(house.at_the_end)
    found = [letters.read(it) for it in house.storage.logs["dead", 0]]
    assert [(it.topic, it.partition, it.offset, it.key) for it in found] == [
        ("other", 0, 0, b"dead"),
        ("other", 0, 1, b"retry"),
    ], "a letter tells of where the event first lay"
    assert found[0].headers == (("h", b"x"),)
    assert metrics.processors.settled.of["teams", "dead"] == 2
    assert len(teams.handled) == 3 + 3
    await house.stop()


@on_virtual_time
async def test_a_deferral_that_cannot_be_read_or_no_longer_be_written_is_dead() -> None:
    house = House()
    original = Delivery("other", 0, 9, 0, b"k", b"v" * 1_000, ())
    record = deferral.write(original, "teams", EPOCH + 70, 0, tiers=TIERS, now=EPOCH)
    house.storage.append(record)
    house.storage.put(("t.1s", 0), b"k", b"v", 0, (("tl-for", b"teams"),))
    house.storage.put(("t.1s", 0), b"k", b"v", 0, (("x", b"foreign"),))
    small = house.storage.topics["t.10s"]
    object.__setattr__(small, "record_bytes_max", 10)
    try:
        _, teams, _ = house.start(later(1))
        await house.until(house.at_the_end)
        reasons = {letters.read(it).reason for it in house.storage.logs["dead", 0]}
    finally:
        object.__setattr__(small, "record_bytes_max", 2_097_152)
    assert reasons == {"no deferral", "cannot be deferred"}
    assert teams.handled == []
    await house.stop()


@on_virtual_time
async def test_memory_is_bounded_however_many_are_deferred() -> None:
    house = House(place_records_max=20, fetch_records_max=10)
    worker, teams, _ = house.start(later(100))
    house.put(*[b"%d" % number for number in range(300)])
    most = 0

    def ended() -> bool:
        nonlocal most
        held = (len(it.tracker.unsettled) for it in worker._holdings.places.values())
        most = max(most, *held, 0)
        return len(teams.handled) == 600 and house.at_the_end()

    await house.until(ended)
    assert most <= 30
    assert min(at for at, _ in teams.handled[300:]) >= EPOCH + 100
    await house.stop()


@pytest.mark.parametrize("until", [float("nan"), float("inf"), -1.0])
def test_a_time_that_is_none_is_the_processors_failure(until: float) -> None:
    async def act(_: Delivery) -> Outcome:
        return Deferred(until)

    @on_virtual_time
    async def run() -> None:
        house = House(retry_attempts_max=2)
        house.start(act)
        house.put(b"k")
        await house.until(house.at_the_end)
        (letter,) = house.storage.logs["dead", 0]
        assert "is no time" in letters.read(letter).message
        await house.stop()

    run()
