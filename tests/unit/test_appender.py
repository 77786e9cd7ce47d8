"""Group commit over the memory stream: what flushes together, and who is answered what, once."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from trunkline.clock import ManualClock
from trunkline.errors import RecordRefused, StreamError, StreamUnavailable
from trunkline.stream import Record, TopicSpec, appender
from trunkline.stream.appender import CLOSED, FULL, LATE, STUCK, Appender
from trunkline.stream.memory import MemoryStream

SPEC = TopicSpec("calls", 1, 1, 1, 1_000, compacted=False, record_bytes_max=10_000)
PATIENCE_SECONDS = 3.0  # only ever waited out by a test that fails
HELD = 1_024 + 2  # what a record of one byte under a key of one byte counts


class Recording(MemoryStream):
    """Remembers its flushes; the first byte of a key is its lane, which has a gate of its own."""

    def __init__(self) -> None:
        super().__init__([SPEC])
        self.flushes: list[list[bytes]] = []
        self.gates = {lane: asyncio.Event() for lane in b"ab"}
        self.under_way: list[int] = []
        for gate in self.gates.values():
            gate.set()

    def lane(self, record: Record) -> int:
        return record.key[0]

    async def append(self, records: Sequence[Record]) -> list[StreamError | None]:
        (lane,) = {record.key[0] for record in records}
        assert lane not in self.under_way, "one flush a lane at a time"
        self.under_way.append(lane)
        self.flushes.append([record.value for record in records])
        await self.gates[lane].wait()
        results = await super().append(records)
        self.under_way.remove(lane)
        return results


class Bench:
    """An appender under test, and every answer it gave."""

    def __init__(self, **limits: Any) -> None:
        self.stream = Recording()
        self.clock = ManualClock()
        settings = {
            "wait_seconds": 1.0,
            "bytes_max": 1_000_000,
            "flush_records_max": 100,
            "flush_bytes_max": 1_000_000,
        }
        self.appender = Appender(self.stream, self.clock, **(settings | limits))
        self.answers: dict[bytes, list[StreamError | None]] = {}

    def offer(self, *values: bytes, key: bytes = b"a") -> None:
        for value in values:
            answers = self.answers.setdefault(value, [])
            self.appender.offer(Record("calls", key, value, (), 0), answers.append)

    async def answered(self, *values: bytes) -> None:
        await until(lambda: all(self.answers[value] for value in values))


@asynccontextmanager
async def bench(**limits: Any) -> AsyncIterator[Bench]:
    made = Bench(**limits)
    yield made
    for gate in (*made.stream.gates.values(), made.stream.gate):
        gate.set()
    await made.appender.close(PATIENCE_SECONDS)
    assert made.appender.bytes_held == 0
    assert {len(answers) for answers in made.answers.values()} <= {1}, "each answered exactly once"


@pytest.fixture(autouse=True)
def looking_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is late is looked for at every turn of the loop, so that no test has to wait for it."""
    monkeypatch.setattr(appender, "_TICK_SECONDS", 0)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110  # nothing there announces itself
            await asyncio.sleep(0.001)


async def turns(count: int = 20) -> None:
    """What would happen by now has happened: nothing here waits for anything but the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_arrives_during_a_flush_is_the_next_one() -> None:
    async with bench() as it:
        it.stream.gates[ord("a")].clear()
        it.offer(b"1", b"2")
        await turns()
        it.offer(b"3")
        await turns()
        it.offer(b"4")
        await turns()
        assert it.stream.flushes == [[b"1", b"2"]]
        it.stream.gates[ord("a")].set()
        await it.answered(b"1", b"2", b"3", b"4")
        assert it.stream.flushes == [[b"1", b"2"], [b"3", b"4"]]
        assert it.answers == {value: [None] for value in (b"1", b"2", b"3", b"4")}


async def test_lanes_do_not_wait_for_each_other() -> None:
    async with bench() as it:
        it.stream.gates[ord("a")].clear()
        it.offer(b"1", key=b"a")
        it.offer(b"2", key=b"b")
        await it.answered(b"2")
        assert it.answers[b"1"] == []
        assert it.appender.bytes_held == HELD


async def test_order_is_kept_through_flushes_of_every_size() -> None:
    async with bench(flush_records_max=7) as it:
        values = [b"%04d" % number for number in range(500)]
        for start in range(0, 500, 23):
            it.offer(*values[start : start + 23])
            await turns(start % 5)
        await it.answered(*values)
        assert [record.value for record in it.stream.records] == values


async def test_a_flush_has_no_more_records_or_bytes_than_allowed() -> None:
    async with bench(flush_records_max=3) as it:
        it.offer(*(b"%d" % number for number in range(8)))
        await it.answered(b"7")
        assert [len(flush) for flush in it.stream.flushes] == [3, 3, 2]
    async with bench(flush_bytes_max=2 * HELD) as it:
        it.offer(b"1", b"2", b"3", bytes(5_000), b"5")
        await it.answered(b"5")
        # One that is larger than a flush may be goes alone.
        assert it.stream.flushes == [[b"1", b"2"], [b"3"], [bytes(5_000)], [b"5"]]


async def test_late_is_answered_once_and_the_bytes_stay_held_until_the_flush_ends() -> None:
    async with bench(flush_records_max=1) as it:
        it.stream.gates[ord("a")].clear()
        it.offer(b"f", b"w")
        await turns()
        assert it.appender.bytes_held == 2 * HELD
        it.clock.advance(0.99)
        await turns()
        assert it.answers == {b"f": [], b"w": []}
        it.clock.advance(0.02)
        await it.answered(b"f", b"w")
        assert it.answers == {b"f": [LATE], b"w": [LATE]}
        assert it.appender.bytes_held == HELD, "what is under way is still in memory"
        it.stream.gates[ord("a")].set()
        await until(lambda: it.appender.bytes_held == 0)
        assert [record.value for record in it.stream.records] == [b"f"], "it landed late"
        assert it.stream.flushes == [[b"f"]], "what was late before its flush is not sent"


async def test_behind_a_flush_that_hangs_the_answer_is_immediate() -> None:
    async with bench() as it:
        it.stream.gates[ord("a")].clear()
        it.offer(b"1")
        await turns()
        it.clock.advance(1.01)
        assert it.appender.stuck_seconds == pytest.approx(1.01)
        it.offer(b"2")
        assert it.answers[b"2"] == [STUCK]
        it.offer(b"3", key=b"b")
        await it.answered(b"3")
        assert it.answers[b"3"] == [None], "another lane is none the worse"
        it.stream.gates[ord("a")].set()
        await until(lambda: not it.stream.under_way)
        assert it.appender.stuck_seconds == 0
        it.offer(b"4")
        await it.answered(b"4")
        assert it.answers[b"4"] == [None]


async def test_more_bytes_than_allowed_are_refused_at_once_and_room_comes_back() -> None:
    async with bench(bytes_max=2 * HELD) as it:
        it.stream.gates[ord("a")].clear()
        it.offer(b"1", b"2", b"3")
        assert it.answers[b"3"] == [FULL]
        assert it.appender.bytes_held == 2 * HELD
        it.stream.gates[ord("a")].set()
        await it.answered(b"1", b"2")
        assert it.appender.bytes_held == 0
        it.offer(b"4")
        await it.answered(b"4")
        assert it.answers[b"4"] == [None]


async def test_a_failure_is_everybodys_answer_and_remembered_until_a_good_flush() -> None:
    async with bench() as it:
        it.stream.failure = StreamUnavailable("no broker")
        it.offer(b"1", b"2")
        await it.answered(b"1", b"2")
        assert it.answers == {b"1": [it.stream.failure], b"2": [it.stream.failure]}
        assert it.appender.failure is it.stream.failure
        it.stream.failure = None
        it.offer(b"3", bytes(20_000))
        await it.answered(b"3", bytes(20_000))
        assert it.answers[b"3"] == [None]
        assert isinstance(it.answers[bytes(20_000)][0], RecordRefused)
        assert it.appender.failure is None, "one bad record does not make a bad stream"


@pytest.mark.parametrize("error", [StreamUnavailable("away"), RuntimeError("a bug")])
async def test_a_stream_that_raises_does_not_leave_its_lane_stuck(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench() as it:

        async def fail(_: Sequence[Record]) -> list[StreamError | None]:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(it.stream, "append", fail)
            it.offer(b"1")
            await it.answered(b"1")
        assert isinstance(it.answers[b"1"][0], StreamUnavailable)
        assert str(error) in str(it.answers[b"1"][0])
        it.offer(b"2")
        await it.answered(b"2")
        assert it.answers[b"2"] == [None]


async def test_an_answer_that_fails_costs_nobody_else_theirs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: StreamError | None) -> None:
        raise RuntimeError("the client is gone")

    caplog.set_level(logging.ERROR)
    async with bench() as it:
        it.offer(b"1")
        it.appender.offer(Record("calls", b"a", b"2", (), 0), broken)
        it.offer(b"3")
        await it.answered(b"1", b"3")
        assert it.answers == {b"1": [None], b"3": [None]}
        assert it.appender.bytes_held == 0
        it.stream.gates[ord("a")].clear()
        it.appender.offer(Record("calls", b"a", b"4", (), 0), broken)
        it.offer(b"5")
        await turns()
        it.clock.advance(2)
        await it.answered(b"5")
        assert it.answers[b"5"] == [LATE]
    failures = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [str(failure) for failure in failures] == ["the client is gone"] * 2


async def test_closing_waits_for_what_is_under_way_and_takes_no_more() -> None:
    async with bench(flush_records_max=1) as it:
        it.stream.gates[ord("a")].clear()
        it.offer(b"1")
        await turns()
        closing = asyncio.create_task(it.appender.close(PATIENCE_SECONDS))
        await turns()
        it.offer(b"2")
        assert it.answers[b"2"] == [CLOSED]
        assert not closing.done()
        it.stream.gates[ord("a")].set()
        await closing
        assert it.answers[b"1"] == [None]


async def test_closing_in_a_hurry_answers_everybody_and_nobody_twice() -> None:
    async with bench(flush_records_max=1) as it:
        it.stream.gates[ord("a")].clear()
        it.offer(b"f", b"w")
        await turns()
        await it.appender.close(0)
        assert it.answers == {b"f": [CLOSED], b"w": [CLOSED]}
        assert it.appender.bytes_held == HELD
        it.stream.gates[ord("a")].set()
        await until(lambda: it.appender.bytes_held == 0)


async def test_flushes_of_a_lane_keep_their_distance_though_an_idle_lane_waits_for_nothing() -> (
    None
):
    async with bench(flush_interval_seconds=0.01) as it:
        it.clock.advance(1)
        it.offer(b"1")
        await turns()
        assert it.stream.flushes == [[b"1"]]
        it.offer(b"2")
        await turns()
        it.offer(b"3")
        assert it.stream.flushes == [[b"1"]]
        await it.answered(b"2", b"3")
        assert it.stream.flushes == [[b"1"], [b"2", b"3"]]
