"""Which event may run next."""

from collections import defaultdict, deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trunkline.stream import Delivery
from trunkline.worker.lines import Lane, Lines, Queue, Waiting, Work
from trunkline.worker.processor import Line


def work(offset: int = 0) -> Work:
    return Work(Delivery("calls", 0, offset, 0, b"k", b"v", ()), 1_000, 0.0)


def line(key: bytes, place: int = 0) -> Line:
    return ("calls", place, key)


def test_a_line_is_in_order_and_runs_one_at_a_time() -> None:
    lines, lane = Lines(), Lane(1)
    works = [work(number) for number in range(3)]
    for one in works:
        lines.add(lane, line(b"a"), one)
    queue = lines.next()
    assert queue is not None
    assert queue.waiting.popleft() is works[0]
    assert lines.next() is None, "the line is busy"
    lines.add(lane, line(b"a"), work(3))
    assert lines.next() is None
    lines.finish(queue)
    assert lines.next() is queue
    assert queue.waiting[0] is works[1]


def test_what_comes_back_is_at_the_head_again() -> None:
    lines, lane = Lines(), Lane(1)
    works = [work(number) for number in range(4)]
    for one in works:
        lines.add(lane, line(b"a"), one)
    queue = lines.next()
    assert queue is not None
    taken = [queue.waiting.popleft() for _ in range(3)]
    lines.finish(queue, taken[1:], 5.0)
    assert list(queue.waiting) == works[1:]
    assert lines.next() is None
    lines.release(4.9)
    assert lines.next() is None
    lines.release(5.0)
    assert lines.next() is queue


def test_a_line_that_rests_after_a_failure_is_not_woken_by_what_arrives() -> None:
    lines, lane = Lines(), Lane(1)
    lines.add(lane, line(b"a"), work(0))
    queue = lines.next()
    assert queue is not None
    lines.finish(queue, (), 5.0)
    lines.add(lane, line(b"a"), work(1))
    assert lines.next() is None
    assert not lane.asking
    lines.add(lane, line(b"b"), work(2))
    other = lines.next()
    assert other is not None
    assert other.line == line(b"b"), "another line is none the worse"


def test_a_line_that_asked_for_more_is_asked_again_when_more_arrives() -> None:
    lines, lane = Lines(), Lane(1)
    lines.add(lane, line(b"a"), work(0))
    queue = lines.next()
    assert queue is not None
    lines.finish(queue, (), 5.0, asked=True)
    assert lane.asking
    lines.add(lane, line(b"a"), work(1))
    assert lines.next() is queue
    lines.finish(queue, (), 7.0, asked=True)
    lines.release(5.0)
    assert lines.next() is None, "the older alarm says nothing any more"
    assert lines.next_release == 7.0
    lines.release(7.0)
    assert lines.next() is queue


def test_places_have_their_turn_however_much_waits_in_another() -> None:
    lines = Lines()
    lanes = [Lane(number) for number in range(3)]
    for number, lane in enumerate(lanes):
        for key in range(100 if number == 0 else 3):
            lines.add(lane, line(b"%d" % key, number), work())
    first = [lines.next() for _ in range(9)]
    places = [queue.line[1] for queue in first if queue]
    assert places == [0, 1, 2] * 3


def test_what_is_dropped_is_gone_at_once_and_what_runs_of_it_is_not_heard() -> None:
    lines, lane = Lines(), Lane(1)
    for key in (b"a", b"b", b"c"):
        lines.add(lane, line(key), work())
    running, parked = lines.next(), lines.next()
    assert running is not None
    assert parked is not None
    lines.finish(parked, (), 5.0)
    running.waiting.popleft()
    lines.drop(lane)
    assert lines.next() is None
    assert lines.next_release is None
    lines.finish(running, [work()])
    assert lines.next() is None


def test_the_same_line_of_a_later_assignment_waits_until_the_older_run_has_ended() -> None:
    lines, old, new, newest = Lines(), Lane(1), Lane(2), Lane(3)
    lines.add(old, line(b"a"), work())
    running = lines.next()
    assert running is not None
    running.waiting.popleft()
    lines.drop(old)
    lines.add(new, line(b"a"), work(1))
    lines.add(new, line(b"b"), work(2))
    other = lines.next()
    assert other is not None
    assert other.line == line(b"b")
    lines.finish(other)
    lines.drop(new)
    lines.add(newest, line(b"a"), work(1))
    lines.add(newest, line(b"a"), work(2))
    assert lines.next() is None
    lines.finish(running)
    heir = lines.next()
    assert heir is not None
    assert heir.lane is newest
    assert len(heir.waiting) == 2


def test_a_processor_sees_what_waits_as_a_sequence() -> None:
    works = deque(work(number) for number in range(5))
    waiting = Waiting(works)
    assert [delivery.offset for delivery in waiting] == [0, 1, 2, 3, 4]
    assert (len(waiting), waiting[0].offset, waiting[-1].offset) == (5, 0, 4)
    assert [delivery.offset for delivery in waiting[1:3]] == [1, 2]


class Served(RuleBasedStateMachine):
    """Against a plain model: lists of what waits in each line of each lane."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = Lines()
        self.lanes = [Lane(number) for number in range(3)]
        self.epochs = 3
        self.waiting: dict[tuple[int, Line], list[Work]] = defaultdict(list)
        self.running: list[tuple[Queue, list[Work]]] = []
        self.parked: dict[tuple[int, Line], float] = {}
        self.now = 0.0

    @rule(place=st.integers(0, 2), key=st.sampled_from([b"a", b"b", b"c"]))
    def add(self, place: int, key: bytes) -> None:
        lane = self.lanes[place]
        one = work()
        self.lines.add(lane, line(key, place), one)
        self.waiting[lane.epoch, line(key, place)].append(one)

    @rule(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        queue = self.lines.next()
        allowed = self._allowed()
        if queue is None:
            assert not allowed, "something could have run"
            return
        where = queue.lane.epoch, queue.line
        assert where in allowed
        assert list(queue.waiting) == self.waiting[where], "in order, and all of it"
        count = min(count, len(queue.waiting))
        works = [queue.waiting.popleft() for _ in range(count)]
        del self.waiting[where][:count]
        self.running.append((queue, works))

    def _allowed(self) -> set[tuple[int, Line]]:
        busy = {queue.line for queue, _ in self.running}
        epochs = {lane.epoch for lane in self.lanes}
        return {
            (epoch, where)
            for (epoch, where), works in self.waiting.items()
            if works and epoch in epochs and where not in busy and (epoch, where) not in self.parked
        }

    @precondition(lambda self: self.running)
    @rule(data=st.data(), wait=st.none() | st.floats(0.1, 5.0))
    def end(self, data: st.DataObject, wait: float | None) -> None:
        queue, works = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        again = works[data.draw(st.integers(0, len(works))) :]
        until = None if wait is None else self.now + wait
        self.lines.finish(queue, again, until)
        where = queue.lane.epoch, queue.line
        if not queue.lane.dropped:
            self.waiting[where][:0] = again
            if until is not None and self.waiting[where]:
                self.parked[where] = until

    @rule(seconds=st.floats(0.1, 3.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.lines.release(self.now)
        self.parked = {where: at for where, at in self.parked.items() if at > self.now}

    @rule(place=st.integers(0, 2))
    def reassign(self, place: int) -> None:
        old = self.lanes[place]
        self.lines.drop(old)
        self.lanes[place] = Lane(self.epochs)
        self.epochs += 1
        for where in [where for where in self.waiting if where[0] == old.epoch]:
            del self.waiting[where]
        self.parked = {where: at for where, at in self.parked.items() if where[0] != old.epoch}

    @invariant()
    def the_next_alarm_is_no_later_than_the_first_that_rests(self) -> None:
        if self.parked:
            assert self.lines.next_release is not None
            assert self.lines.next_release <= min(self.parked.values())


TestServed = Served.TestCase
TestServed.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
