"""What an audit makes of marks, notes and the lake's lines, against the plainest reckoning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.cli.accounting import Ledger, Standing, length, standing, text, wanted, without
from trunkline.stream import Mark, note
from trunkline.stream.tracker import Tracker

PLACE = ("telnyx.calls", 3)


def offsets(runs: list[tuple[int, int]]) -> set[int]:
    found = [offset for first, last in runs for offset in range(first, last)]
    assert len(found) == len(set(found)), "runs do not overlap"
    return set(found)


@given(
    settled=st.sets(st.integers(10, 60)),
    first=st.integers(0, 40),
    published=st.none() | st.integers(0, 50),
)
def test_settled_and_unsettled_are_all_that_is_kept(
    settled: set[int], first: int, published: int | None
) -> None:
    tracker = Tracker[None](Mark(10))
    for offset in range(10, 61):
        tracker.admit(offset, None)
    for offset in settled:
        tracker.settle(offset)
    mark = tracker.mark()

    found = standing(PLACE, (first, 61), mark)

    done = {*range(10), *settled}
    assert found.settled == len(done & set(range(first, 61)))
    assert found.settled + found.unsettled == 61 - first
    assert (found.problem is not None) == (mark.next_offset < first)
    begin = first if published is None else min(first, published)
    assert offsets(wanted(found, published)) == {
        it for it in done if it >= begin and (it < mark.next_offset or it >= first)
    }


def test_a_group_that_committed_nothing_has_settled_nothing() -> None:
    found = standing(PLACE, (5, 9), None)
    assert (found.settled, found.unsettled, found.problem) == (0, 4, None)
    assert wanted(found, None) == []


def test_a_note_that_cannot_be_read_settles_nothing_and_is_told() -> None:
    found = standing(PLACE, (0, 9), Mark(4, "of another tool"))
    assert (found.settled, found.unsettled, found.problem) == (4, 5, None)
    assert found.note_problem is not None


@pytest.mark.parametrize(
    ("mark", "words"), [(2, "retention took 3 offsets"), (10, "beyond the end")]
)
def test_a_mark_outside_of_the_stream_is_a_problem(mark: int, words: str) -> None:
    found = Standing(PLACE, 5, 9, mark)
    assert words in (found.problem or "")
    assert 0 <= found.settled <= 4


@given(
    lines=st.lists(st.integers(0, 50)), runs=st.lists(st.tuples(st.integers(5, 40), st.just(40)))
)
def test_a_ledger_knows_what_is_lacking_and_what_is_double(
    lines: list[int], runs: list[tuple[int, int]]
) -> None:
    ledger = Ledger(5, 40)
    for offset in lines:
        ledger.add(offset)
    assert ledger.lines == len(lines)
    assert offsets(ledger.double()) == {it for it in lines if lines.count(it) > 1 and 5 <= it < 40}
    assert ledger.above == [it for it in lines if it >= 40]
    for run in runs:
        assert offsets(ledger.lacking([run])) == set(range(*run)) - set(lines)


@given(excused=st.sets(st.integers(0, 30)))
def test_what_is_excused_is_not_missing(excused: set[int]) -> None:
    runs = [(2, 9), (12, 13), (20, 29)]
    assert offsets(without(runs, excused)) == offsets(runs) - excused


def test_runs_are_told_in_few_words() -> None:
    assert text([(17, 18), (20, 26)]) == "17, 20-25"
    assert text([(it, it + 1) for it in range(0, 20, 2)]) == "0, 2, 4, 6, 8 and 5 runs more"
    assert length([(17, 18), (20, 26)]) == 7


def test_notes_are_read_as_the_worker_writes_them() -> None:
    written, cut = note.encode(10, [(10, 11), (15, 20)], 30)
    assert not cut
    found = standing(PLACE, (0, 40), Mark(10, written))
    assert found.settled_above == ((11, 15), (20, 30))
