"""The judge itself: silent where all is well, and it bites."""

from dataclasses import replace

import pytest

from tests.workerfaults.checker import Facts, check, pauses_after, quantile, silences
from tests.workerfaults.journal import CANCELLED, DONE, KILLED, Run
from trunkline.stream import Delivery, Mark

PLACE = ("t", 0)
KEYS = (b"even", b"odd")


def run(
    offset: int, began: float, ended: float | None = None, how: str = DONE, pid: int = 1
) -> Run:
    line = (*PLACE, KEYS[offset % 2])
    ended = began + 0.5 if ended is None else ended
    return Run((*PLACE, offset), line, pid, began, ended, how)


STORED = [Delivery(*PLACE, offset, 0, KEYS[offset % 2], b"", ()) for offset in range(4)]
FACTS = Facts(STORED, {PLACE: (0, 4)}, {PLACE: Mark(4)})
GOOD = [run(0, 10), run(1, 10.1), run(2, 11), run(3, 11.1)]


def problems(runs: list[Run], facts: Facts = FACTS) -> str:
    return "; ".join(check(sorted(runs, key=lambda it: it.began), facts).violations)


def test_what_is_well_is_left_alone() -> None:
    assert problems(GOOD) == ""


@pytest.mark.parametrize(
    ("runs", "facts", "problem"),
    [
        (GOOD[:3], FACTS, "neither done nor dead"),
        (GOOD, replace(FACTS, marks={PLACE: Mark(3)}), "marks not at the end"),
        (GOOD, replace(FACTS, marks={PLACE: Mark(4, "tl1:x")}), "marks not at the end"),
        (GOOD, replace(FACTS, marks={}), "marks not at the end"),
        (GOOD, replace(FACTS, dead=[(*PLACE, 1)]), "done and dead"),
        ([*GOOD, run(4, 12)], FACTS, "not stored"),
        ([run(2, 9), *GOOD[:2], GOOD[3]], FACTS, "out of order"),
        ([run(0, 10, 12), *GOOD[1:]], FACTS, "at the same time"),
        ([run(0, 10, 12), *GOOD[1:]], FACTS, "before the one before had ended"),
        ([*GOOD, run(3, 12)], FACTS, "repeats unexplained"),
        ([*GOOD, run(3, 12)], replace(FACTS, deaths={1: 30.0}), "repeats unexplained"),
        ([run(3, 9, 9.5, CANCELLED), *GOOD[:3], run(3, 12)], FACTS, "repeats unexplained"),
    ],
)
def test_what_is_wrong_is_named(runs: list[Run], facts: Facts, problem: str) -> None:
    assert problem in problems(runs, facts)


def test_a_crash_explains_a_repeat_soon_before_it() -> None:
    killed = run(2, 11, 11.2, KILLED)
    again = [*GOOD[:2], killed, GOOD[3], run(2, 20, pid=2), run(3, 20, pid=2)]
    assert problems(again, replace(FACTS, deaths={1: 11.9})) == ""
    assert "unexplained" in problems(again, replace(FACTS, deaths={1: 18.0}))


def test_silence_is_counted_for_the_partitions_of_the_dead() -> None:
    runs = [*GOOD, run(2, 17, pid=2)]
    assert silences(runs, {1: 12.0}) == [5.0]
    assert silences(runs, {3: 12.0}) == []
    assert pauses_after(runs, {1: 12.0}) == [pytest.approx(5.9)]
    assert quantile([1.0, 2.0, 3.0], 0.99) == 3.0
