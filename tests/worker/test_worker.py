"""The loop: order within a line, concurrency across them, failures, bounds, stopping."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest

from tests.worker.scene import GROUP, TOPIC, Scene, Scripted, done, settled_by, taking
from tests.worker.virtual import EPOCH, on_virtual_time
from trunkline.errors import GroupTaken, StreamUnavailable
from trunkline.outcome import Dead, Deferred, Done, Outcome, Retry, Skipped, Stale
from trunkline.stream import Delivery, Mark

KEYS = [b"%d" % number for number in range(20)]


def now() -> float:
    return asyncio.get_running_loop().time()


@on_virtual_time
async def test_a_line_runs_in_order_and_others_do_not_wait_for_it() -> None:
    scene = Scene()
    scene.put(*KEYS * 5)
    scene.start(taking(1.0))
    await scene.finished()
    assert 5.0 <= now() < 6.5, "twenty lines at once, five after another in each"
    for key in KEYS:
        mine = [it for it in scene.attempts if it.delivery.key == key]
        assert [it.delivery.offset for it in mine] == sorted(it.delivery.offset for it in mine)
        for one, following in pairwise(mine):
            assert one.ended_at is not None
            assert one.ended_at <= following.begun_at
    assert scene.mark() == Mark(100)
    await scene.end()


@on_virtual_time
async def test_no_more_run_at_once_than_allowed() -> None:
    scene = Scene(concurrency=3)
    scene.put(*KEYS)
    (member,) = [scene.start(taking(1.0))]
    most = 0

    def look() -> bool:
        nonlocal most
        most = max(most, len(member.processor.running))
        return len(scene.ended[TOPIC, 0]) == 20

    await scene.until(look)
    assert most == 3
    await scene.end()


@on_virtual_time
async def test_each_outcome_is_counted_once_and_the_account_is_in_the_metrics() -> None:
    outcomes: dict[bytes | None, Outcome] = {
        b"done": Done(),
        b"skipped": Skipped("not ours"),
        b"stale": Stale(),
        b"dead": Dead("bad number"),
    }

    async def act(delivery: Delivery) -> Outcome:
        await asyncio.sleep(2)
        return outcomes[delivery.key]

    scene = Scene()
    scene.put(*outcomes)
    member = scene.start(act)
    await scene.finished()
    await scene.end()
    of = member.metrics.processors
    labels = ("done", "skipped", "stale", "dead")
    assert {it: n for it, n in of.settled.of.items() if n} == dict.fromkeys(
        ((GROUP, label) for label in labels), 1
    )
    assert of.dead.of == {(GROUP, "bad number"): 1}
    assert of.delivered.of == {(GROUP,): 4}
    assert of.in_flight.of == of.abandoned.of == {(GROUP,): 0}
    assert of.event_age_seconds.of(GROUP).sum == pytest.approx(8, abs=0.1)
    assert sum(of.queue_seconds.of(GROUP).counts) == 4


@on_virtual_time
async def test_lag_and_ages_are_shown() -> None:
    scene = Scene(concurrency=1, commit_seconds=0.1, lag_interval_seconds=1)
    member = scene.start(taking(100.0))
    scene.put(*KEYS)
    await scene.until_time(30)
    of = member.metrics.processors
    assert of.lag_events.of == {(GROUP, TOPIC): 20}
    assert of.in_flight.of == {(GROUP,): 20}
    assert of.watermark_age_seconds.of[GROUP,] == pytest.approx(30, abs=2)
    facts = member.worker.facts()
    assert (facts.in_flight, facts.lag_events) == (20, 20)
    assert facts.running_age == pytest.approx(30, abs=2)
    assert facts.fetch_age < 1
    await scene.stop(member)
    scene.check()


@on_virtual_time
async def test_a_retry_blocks_only_its_line_and_keeps_its_order() -> None:
    failures = Counter[int]()

    async def act(delivery: Delivery) -> Outcome:
        if delivery.key == b"x" and failures[delivery.offset] < 3:
            failures[delivery.offset] += 1
            return Retry("not yet", after_seconds=10.0)
        return Done()

    scene = Scene()
    member = scene.start(act)
    bad = scene.put(b"x", b"x")
    others = scene.put(*KEYS)
    await scene.until(lambda: scene.ended[TOPIC, 0] >= set(others))
    assert now() < 5
    await scene.until(lambda: settled_by(scene.mark()) >= set(others))
    assert scene.mark().next_offset == bad[0], "the mark waits, and notes what is done above it"
    await scene.finished()
    assert [offset for key, offset in scene.begun if key == b"x"] == [0] * 4 + [1] * 4
    assert now() == pytest.approx(60, abs=3)
    assert member.metrics.processors.retries.of[GROUP,] == 6
    await scene.end()


@on_virtual_time
async def test_what_goes_on_failing_is_dead_with_all_that_is_known_and_the_line_goes_on() -> None:
    async def act(delivery: Delivery) -> Outcome:
        if delivery.value == b"poison":
            raise ValueError("cannot be")
        return Done()

    scene = Scene(retry_attempts_max=4, retry_first_seconds=1.0, retry_most_seconds=60.0)
    scene.put(b"x")
    (poison,) = scene.put(b"x", value=b"poison", headers=(("ce_id", b"7"),))
    scene.put(b"x", b"y")
    scene.start(act)
    await scene.finished()
    (letter,) = scene.letters
    assert (letter.topic, letter.partition, letter.offset) == (TOPIC, 0, poison)
    assert (letter.reason, letter.attempts) == ("retries exhausted", 4)
    assert (letter.exception, letter.message) == ("ValueError", "cannot be")
    assert (letter.key, letter.value, letter.headers) == (b"x", b"poison", (("ce_id", b"7"),))
    assert letter.last_failed_at - letter.first_failed_at == pytest.approx(7, abs=0.01)
    assert letter.first_failed_at == pytest.approx(EPOCH, abs=0.1)
    assert letter.processor == GROUP
    assert [offset for key, offset in scene.begun if key == b"x"] == [0, 1, 1, 1, 1, 2]
    await scene.end()


@on_virtual_time
async def test_nothing_passes_a_dead_letter_that_cannot_be_posted() -> None:
    async def act(delivery: Delivery) -> Outcome:
        return Dead("poison") if delivery.value == b"poison" else Done()

    scene = Scene(place_records_max=1_000)
    scene.stream.failure = StreamUnavailable("no broker")
    scene.put(b"x")
    (poison,) = scene.put(b"x", value=b"poison")
    following = scene.put(b"x", b"y")
    member = scene.start(act)
    await scene.until_time(50)
    assert scene.mark().next_offset == poison
    assert scene.begun.count((b"x", poison)) == 1, "it was decided once; only its letter waits"
    assert (b"x", following[0]) not in scene.begun
    scene.put(b"z")
    await scene.until_time(100)
    assert member.worker._holdings.in_flight == 2, "the place is held"
    scene.stream.failure = None
    await scene.finished()
    assert [letter.offset for letter in scene.letters] == [poison]
    await scene.end()


@on_virtual_time
async def test_an_append_that_hangs_holds_only_its_line_and_is_never_cancelled() -> None:
    async def act(delivery: Delivery) -> Outcome:
        return Dead("poison") if delivery.key == b"x" else Done()

    scene = Scene(drain_seconds=1.0)
    scene.stream.gate.clear()
    scene.put(b"x", *KEYS)
    member = scene.start(act)
    await scene.until(lambda: len(scene.ended[TOPIC, 0]) == 20)
    member.stop.set()
    await scene.until(lambda: scene.mark().note)
    assert scene.mark().next_offset == 0
    scene.stream.gate.set()
    await member.task
    assert [letter.offset for letter in scene.letters] == [0], "it landed, though nobody waited"
    await scene.end()


@on_virtual_time
async def test_a_letter_the_dead_topic_finds_too_large_is_cut_down() -> None:
    scene = Scene()
    scene.storage.topics["dead"] = scene.storage.topics["dead"].__class__(
        "dead", 1, 1, 1, 10**13, compacted=False, record_bytes_max=100_000
    )

    async def act(_: Delivery) -> Outcome:
        return Dead("large")

    scene.put(b"x", value=bytes(1_000_000))
    scene.start(act)
    await scene.finished()
    assert [letter.cut for letter in scene.letters] == [{"value"}]
    await scene.end()


@on_virtual_time
async def test_records_from_anywhere_do_not_stop_the_stream() -> None:
    class Picky(Scripted):
        def line(self, delivery: Delivery) -> tuple[str, int, bytes]:
            assert delivery.key is not None, "every event of ours has a key"
            return super().line(delivery)

    scene = Scene()
    scene.put(b"x", None)
    scene.put(b"", value=None, headers=(("\u00e9", b"\xff" * 10_000),))
    scene.put(b"x")
    scene.start(done, kind=Picky)
    await scene.finished()
    (letter,) = scene.letters
    assert (letter.reason, letter.key, letter.exception) == ("no line", None, "AssertionError")
    await scene.end()


@pytest.mark.parametrize(
    "outcome", [Deferred(EPOCH + 9), None, "done"], ids=["deferred", "none", "text"]
)
def test_what_is_no_outcome_here_is_the_processors_failure(outcome: Outcome) -> None:
    @on_virtual_time
    async def play() -> None:
        async def act(_: Delivery) -> Outcome:
            return outcome

        scene = Scene(retry_attempts_max=2)
        scene.put(b"x")
        scene.start(act)
        await scene.finished()
        assert [letter.exception for letter in scene.letters] == ["AssertionError"]
        await scene.end()

    play()


@on_virtual_time
async def test_a_processor_that_cannot_say_how_many_loses_only_that_event() -> None:
    class Wrong(Scripted):
        def take(self, waiting: Sequence[Delivery], now: float) -> int | float:
            del now
            return 7 if waiting[0].value == b"poison" else 1

    scene = Scene(retry_attempts_max=2)
    scene.put(b"x", b"x")
    (poison,) = scene.put(b"x", value=b"poison")
    scene.put(b"x", b"y")
    scene.start(done, kind=Wrong)
    await scene.finished()
    assert [letter.offset for letter in scene.letters] == [poison]
    await scene.end()


@on_virtual_time
async def test_a_handler_that_hangs_stalls_its_line_alone_and_that_is_seen() -> None:
    async def act(delivery: Delivery) -> Outcome:
        if delivery.key == b"x":
            await asyncio.Event().wait()
        return Done()

    scene = Scene(drain_seconds=2.0, stall_seconds=300.0)
    scene.put(b"x", b"x", *KEYS)
    member = scene.start(act)
    await scene.until(lambda: len(settled_by(scene.mark()) & set(range(22))) == 20)
    assert scene.mark().next_offset == 0
    assert member.worker.healthy()
    await scene.until_time(200)
    scene.put(b"late")
    await scene.until_time(400)
    assert member.worker.healthy(), "others moved"
    await scene.until_time(520)
    assert not member.worker.healthy()
    assert member.worker.facts().running_age > 500
    await scene.stop(member)
    assert member.worker.account.abandoned == 2
    scene.check()


@on_virtual_time
async def test_an_idle_worker_is_healthy_for_ever() -> None:
    scene = Scene(stall_seconds=10.0)
    member = scene.start(done)
    await asyncio.sleep(1_000)
    assert member.worker.healthy()
    scene.put(b"x")
    await scene.finished()
    await scene.end()


class Fatal(BaseException):
    pass


@on_virtual_time
async def test_what_nobody_may_catch_ends_the_worker_and_settles_nothing() -> None:
    async def act(delivery: Delivery) -> Outcome:
        if delivery.key == b"x":
            await asyncio.sleep(1)
            raise Fatal
        return Done()

    scene = Scene(commit_seconds=60.0)
    scene.put(b"a", b"b")
    (fatal,) = scene.put(b"x")
    scene.put(b"c")
    member = scene.start(act)
    await asyncio.wait({member.task})
    error = member.task.exception()
    assert isinstance(error, BaseExceptionGroup)
    assert error.split(Fatal)[1] is None
    assert scene.mark().next_offset == fatal, "what was settled before is committed"
    assert settled_by(scene.mark()) & {0, 1, 2, 3} == {0, 1, 3}
    member.recount()
    scene.start(done)
    await scene.finished()
    assert scene.begun.count((b"x", fatal)) == 2
    await scene.end()


@on_virtual_time
async def test_a_cancellation_that_nobody_asked_for_is_tried_again_and_never_settles() -> None:
    tries = 0

    async def act(_: Delivery) -> Outcome:
        nonlocal tries
        tries += 1
        if tries < 30:
            gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            gone.cancel()
            await gone
        return Done()

    scene = Scene(retry_attempts_max=3)
    scene.put(b"x", b"x")
    scene.start(act)
    await scene.finished()
    assert scene.letters == []
    assert tries == 31
    await scene.end()


class Batches(Scripted):
    """Three at a time, or what is there ten seconds after being asked first."""

    async def handle(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        self.scene.batches.append([delivery.offset for delivery in deliveries])
        return await super().handle(deliveries)

    def take(self, waiting: Sequence[Delivery], now: float) -> int | float:
        if len(waiting) >= 3:
            return 3
        due = waiting[0].timestamp_ms / 1_000 + 10
        return len(waiting) if now >= due else due


@on_virtual_time
async def test_a_processor_takes_as_many_as_it_likes_when_it_likes() -> None:
    scene = Scene()
    scene.start(done, kind=Batches)
    scene.put(*[b"x"] * 7)
    await scene.until_time(5)
    assert scene.batches == [[0, 1, 2], [3, 4, 5]]
    scene.put(b"x")
    await scene.until_time(9)
    assert len(scene.batches) == 2
    await scene.finished()
    assert scene.batches[2:] == [[6, 7]]
    assert now() == pytest.approx(10, abs=1.5)
    await scene.end()


@on_virtual_time
async def test_a_processor_that_waits_for_more_than_a_place_may_hold_gets_it() -> None:
    class Many(Batches):
        def take(self, waiting: Sequence[Delivery], now: float) -> int | float:
            return 900 if len(waiting) >= 900 else now + 3_000

    scene = Scene(place_records_max=100, fetch_records_max=50)
    scene.start(done, kind=Many)
    scene.put(*[b"x"] * 1_800)
    await scene.finished()
    assert [len(batch) for batch in scene.batches] == [900, 900]
    await scene.end()


@on_virtual_time
async def test_in_a_batch_each_event_has_its_own_outcome_and_a_retry_takes_the_rest_along() -> None:
    tried = Counter[int]()

    async def act(delivery: Delivery) -> Outcome:
        tried[delivery.offset] += 1
        if delivery.offset == 0:
            return Dead("poison")
        if tried[1] == 1 and delivery.offset > 0:
            return Retry("later", 5.0)
        return Done()

    scene = Scene()
    scene.put(*[b"x"] * 3)
    scene.start(act, kind=Batches)
    await scene.finished()
    assert scene.batches == [[0, 1, 2], [1, 2]]
    assert [letter.offset for letter in scene.letters] == [0]
    await scene.end()


@on_virtual_time
async def test_one_that_raises_in_a_batch_dies_alone() -> None:
    async def act(delivery: Delivery) -> Outcome:
        if delivery.offset == 1:
            raise KeyError("to")
        return Done()

    scene = Scene(retry_attempts_max=2)
    scene.put(*[b"x"] * 6)
    scene.start(act, kind=Batches)
    await scene.finished()
    assert [letter.offset for letter in scene.letters] == [1]
    assert scene.batches == [[0, 1, 2], [0], [1], [1], [2], [3, 4, 5]]
    await scene.end()


@on_virtual_time
async def test_memory_is_bounded_whatever_handlers_do() -> None:
    async def act(_: Delivery) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    scene = Scene(partitions=3, place_records_max=100, fetch_records_max=50, drain_seconds=0.0)
    for partition in range(3):
        scene.put(*KEYS * 100, partition=partition)
    member = scene.start(act)
    most = 0

    def look() -> bool:
        nonlocal most
        for holding in member.worker._holdings.places.values():
            most = max(most, len(holding.tracker.unsettled))
        return now() > 10

    await scene.until(look)
    assert 100 <= most <= 100 + 50
    await scene.stop(member)
    scene.check()


@on_virtual_time
async def test_stopping_lets_run_what_runs_and_begins_nothing_more() -> None:
    scene = Scene(concurrency=5)
    scene.put(*KEYS)
    member = scene.start(taking(3.0))
    await scene.until(lambda: len(scene.attempts) == 5)
    await scene.stop(member)
    assert now() == pytest.approx(3, abs=0.6)
    assert len(scene.attempts) == 5
    assert scene.mark().next_offset == 5
    scene.start(done)
    await scene.finished()
    assert len(scene.attempts) == 20, "nothing was repeated"
    await scene.end()


@on_virtual_time
async def test_stopping_ends_at_the_deadline_and_names_what_still_runs() -> None:
    seen: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = seen.append  # type: ignore[method-assign,assignment]  # all that is wanted of it
    logging.getLogger("trunkline.worker").addHandler(handler)
    scene = Scene(drain_seconds=4.0)
    scene.put(b"short", b"long", b"short")
    member = scene.start(taking(1.0))
    await scene.finished()
    scene.put(b"long")
    member.processor.act = taking(1_000.0)
    await scene.until(lambda: len(scene.attempts) == 4)
    begun = now()
    await scene.stop(member)
    logging.getLogger("trunkline.worker").removeHandler(handler)
    assert now() - begun == pytest.approx(4, abs=0.6)
    (named,) = [record for record in seen if "still running" in record.msg]
    assert (named.__dict__["offset"], named.__dict__["age_seconds"]) == (3, 4.0)
    assert member.worker.account.abandoned == 1
    assert scene.mark() == Mark(3)


@on_virtual_time
async def test_stopping_before_anything_came_and_while_joining_fails_is_quick() -> None:
    scene = Scene()
    member = scene.start(done)
    await scene.stop(member)
    del scene.storage.topics[TOPIC]
    member = scene.start(done)
    await asyncio.sleep(100)
    assert not member.task.done(), "it goes on trying"
    begun = now()
    await scene.stop(member)
    assert now() - begun < 1


@on_virtual_time
async def test_a_group_that_another_process_holds_is_said_at_once() -> None:
    scene = Scene()

    async def join(*_: object) -> None:
        raise GroupTaken("another process")

    scene.stream.join = join  # type: ignore[assignment,method-assign]  # what SQLite does
    member = scene.start(done)
    await asyncio.wait({member.task})
    assert isinstance(member.task.exception(), GroupTaken)


@on_virtual_time
async def test_commits_that_fail_are_made_up_for() -> None:
    scene = Scene()
    scene.storage.commit_failure = StreamUnavailable("no coordinator")
    scene.put(*KEYS)
    scene.start(done)
    await scene.until_time(20)
    assert scene.marks.commits == 0
    scene.storage.commit_failure = None
    await scene.finished()
    assert len(scene.attempts) == 20
    await scene.end()


@on_virtual_time
async def test_marks_are_committed_every_second_or_every_so_many_and_only_when_they_moved() -> None:
    scene = Scene(commit_seconds=1.0, commit_settles=10)
    scene.put(*KEYS)
    scene.start(taking(0.01))
    await scene.until(lambda: scene.mark() == Mark(20))
    assert now() < 0.5
    commits = scene.marks.commits
    assert commits <= 3
    await asyncio.sleep(100)
    assert scene.marks.commits == commits
    scene.put(b"x")
    begun = now()
    await scene.finished()
    assert now() - begun <= 1.1
    await scene.end()
