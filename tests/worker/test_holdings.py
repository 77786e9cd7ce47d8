"""How much is taken in, and what is refused."""

import pytest

from trunkline.errors import StreamUnavailable
from trunkline.outcome import Dead
from trunkline.settings import WorkerSection
from trunkline.stream import Delivery, Mark, Place
from trunkline.worker.holdings import NO_LINE, Holdings
from trunkline.worker.lines import Lines, Work
from trunkline.worker.processor import Line
from trunkline.worker.pulse import Pulse

PLACE: Place = ("calls", 0)


def line_of(delivery: Delivery) -> Line:
    if delivery.key is None:
        raise TypeError("no key")
    return delivery.topic, delivery.partition, delivery.key


def delivery(
    offset: int, *, partition: int = 0, size: int = 10, key: bytes | None = b"k"
) -> Delivery:
    return Delivery("calls", partition, offset, 0, key, bytes(size), ())


class Bench:
    def __init__(self, **limits: int) -> None:
        self.lines = Lines()
        self.it = Holdings(WorkerSection.model_validate(limits), self.lines, line_of)
        self.it.assign({PLACE: Mark(0)})

    def admit(self, *offsets: int, partition: int = 0, size: int = 10) -> None:
        self.it.admit([delivery(it, partition=partition, size=size) for it in offsets], 0.0)

    def settle(self, *offsets: int) -> None:
        holding = self.it.places[PLACE]
        for offset in offsets:
            assert self.it.settle(holding.lane.epoch, holding.tracker.unsettled[offset])


def test_a_place_is_held_at_its_bound_and_until_half_of_it_is_done() -> None:
    bench = Bench(place_records_max=10)
    bench.admit(*range(10))
    assert bench.it.held() == set()
    bench.admit(10)
    assert bench.it.held() == {PLACE}
    bench.settle(*range(5))
    assert bench.it.held() == {PLACE}
    bench.settle(5)
    assert bench.it.held() == set()


def test_bytes_are_bounded_by_place_and_over_all() -> None:
    bench = Bench(place_bytes_max=100_000, held_bytes_max=1_000_000)
    bench.it.assign({("calls", number): Mark(0) for number in range(20)})
    bench.admit(0, size=101_000)
    assert bench.it.held() == {PLACE}
    for number in range(1, 11):
        bench.admit(0, partition=number, size=98_000)
    assert len(bench.it.held()) == 20, "nobody takes more"
    assert bench.it.bytes_held == sum(it.bytes_held for it in bench.it.places.values())


def test_who_asks_for_more_before_it_can_do_anything_is_not_held() -> None:
    bench = Bench(place_records_max=10)
    bench.admit(*range(20))
    assert bench.it.held() == {PLACE}
    queue = bench.lines.next()
    assert queue is not None
    bench.lines.finish(queue, (), 60.0, asked=True)
    assert bench.it.held() == set()
    bench.admit(20)
    assert bench.it.held() == {PLACE}


def test_a_place_whose_letters_cannot_be_posted_is_held() -> None:
    bench = Bench()
    bench.admit(0, 1)
    holding = bench.it.places[PLACE]
    bench.it.unposted(holding.lane.epoch, holding.tracker.unsettled[0])
    assert bench.it.held() == {PLACE}
    bench.settle(0)
    assert bench.it.held() == set()


def test_what_does_not_continue_what_we_hold_means_joining_anew() -> None:
    bench = Bench()
    bench.admit(5)
    for offset in (5, 3):
        with pytest.raises(StreamUnavailable, match="went back"):
            bench.admit(offset)
    with pytest.raises(StreamUnavailable, match="not assigned"):
        bench.admit(0, partition=7)
    assert (bench.it.delivered, bench.it.in_flight) == (1, 1)


def test_a_settlement_of_an_older_assignment_is_not_heard() -> None:
    bench = Bench()
    bench.admit(0, 1)
    old = bench.it.places[PLACE]
    late = old.tracker.unsettled[0]
    bench.it.assign({PLACE: Mark(0)})
    bench.admit(0)
    assert not bench.it.settle(old.lane.epoch, late)
    assert (bench.it.delivered, bench.it.in_flight, bench.it.abandoned) == (3, 1, 2)
    assert bench.it.changed() == []


def test_what_is_stopped_takes_nothing_more_in() -> None:
    bench = Bench()
    bench.admit(0)
    bench.it.stop([PLACE])
    bench.admit(1, 2)
    assert bench.it.in_flight == 1
    assert bench.lines.next() is None


def test_only_marks_that_moved_are_to_be_committed() -> None:
    bench = Bench()
    bench.admit(0, 1)
    assert bench.it.changed() == []
    bench.settle(0)
    ((holding, mark),) = bench.it.changed()
    assert (holding.place, mark) == (PLACE, Mark(1))
    assert bench.it.changed() == []


def test_a_record_without_a_line_is_dead_and_the_next_one_is_not() -> None:
    bench = Bench()
    bench.it.admit([delivery(0, key=None), delivery(1)], 0.0)
    first: Work = bench.it.places[PLACE].tracker.unsettled[0]
    assert first.verdict == Dead(NO_LINE)
    assert first.trouble is not None
    assert first.trouble.exception == "TypeError"
    assert bench.it.places[PLACE].tracker.unsettled[1].verdict is None


def test_the_pulse_stands_still_only_while_there_is_work() -> None:
    pulse = Pulse(0.0)
    pulse.look(1_000.0, work=False)
    assert pulse.still(1_001.0) == 1.0
    pulse.look(1_500.0, work=True)
    pulse.fetched(1_600.0, something=False)
    assert pulse.still(1_600.0) == 600.0
    assert pulse.fetch_age(1_601.0) == 1.0
    pulse.settled(1_700.0)
    assert pulse.still(1_700.0) == 0.0
    pulse.fetched(1_800.0, something=True)
    assert pulse.still(1_800.0) == 0.0
