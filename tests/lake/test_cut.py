"""Where a file is cut: pure, and the same however the records arrive."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as some

from processors.publish import Cutter
from tests.lake.words import START_MS, delivery
from trunkline.settings import LakeSection
from trunkline.stream import Delivery

LIMITS = LakeSection(cut_seconds=10, cut_records_max=5, cut_bytes_max=65_536)
NOW = START_MS / 1_000
SHORT = 60_000

gaps = some.lists(
    some.tuples(some.integers(0, 12_000), some.sampled_from((0, 100, 30_000, 90_000))),
    min_size=1,
    max_size=40,
)


def cut(waiting: Sequence[Delivery], now: float, limits: LakeSection) -> int | float:
    return Cutter(limits).cut(waiting, now)


def sequence(gaps: Sequence[tuple[int, int]]) -> list[Delivery]:
    found, at = [], START_MS
    for offset, (gap, size) in enumerate(gaps):
        at += gap
        found.append(delivery(offset, at, value=b"x" * size))
    return found


def chain(records: Sequence[Delivery], now: float) -> list[int]:
    """Where one publisher cuts whom the records reach all at once."""
    ends, start = [], 0
    while start < len(records):
        count = cut(records[start:], now, LIMITS)
        assert isinstance(count, int)
        start += count
        ends.append(start)
    return ends


def test_a_cut_waits_until_its_first_record_is_ten_seconds_old() -> None:
    waiting = [delivery(0), delivery(1, START_MS + 9_000)]
    assert cut(waiting, NOW + 9.999, LIMITS) == NOW + 10
    assert cut(waiting, NOW + 10, LIMITS) == 2


def test_a_later_record_closes_a_cut_before_its_time() -> None:
    waiting = [delivery(0), delivery(1, START_MS + 10_000), delivery(2, START_MS + 10_001)]
    assert cut(waiting, NOW, LIMITS) == 2


def test_a_full_cut_does_not_wait() -> None:
    assert cut([delivery(n) for n in range(9)], NOW, LIMITS) == 5
    large = [delivery(n, value=b"x" * 30_000) for n in range(3)]
    assert cut(large, NOW, LIMITS) == 2


def test_a_record_larger_than_a_cut_is_a_cut() -> None:
    assert cut([delivery(0, value=b"x" * 2_000_000)], NOW, LIMITS) == 1


def test_a_clock_far_ahead_does_not_keep_records_back() -> None:
    assert cut([delivery(0, START_MS + 86_400_000)], NOW, LIMITS) == 1
    assert cut([delivery(0, START_MS + 2_000)], NOW, LIMITS) == NOW + 12


def test_records_without_a_time_are_cut_at_once() -> None:
    assert cut([delivery(0, -1), delivery(1, -1)], NOW, LIMITS) == 2


@given(gaps, some.integers(1, 40), some.floats(0, 60))
def test_a_closed_cut_stays_whatever_arrives_and_however_late(
    gaps: list[tuple[int, int]], seen: int, wait: float
) -> None:
    records = sequence(gaps)
    view = records[:seen]
    count = cut(view, NOW, LIMITS)
    if isinstance(count, int) and count < len(view):
        assert cut(records, NOW + wait, LIMITS) == count
    elif isinstance(count, float):
        assert count == records[0].timestamp_ms / 1_000 + 10


@given(gaps, some.lists(some.integers(1, 10), min_size=1, max_size=40))
def test_cuts_are_the_same_however_the_records_arrive(
    gaps: list[tuple[int, int]], batches: list[int]
) -> None:
    """Of records that come before the cut they belong to is due."""
    records = sequence(gaps)
    cutter = Cutter(LIMITS)
    ends, start, arrived, batch = [], 0, 0, 0
    while start < len(records):
        due = records[start].timestamp_ms / 1_000 + 10
        now = due if arrived == len(records) else due - 0.001
        count = cutter.cut(records[start:arrived], now) if arrived > start else now
        if isinstance(count, int):
            start += count
            ends.append(start)
        else:
            arrived = min(len(records), arrived + batches[batch % len(batches)])
            batch += 1
    assert ends == chain(records, records[-1].timestamp_ms / 1_000 + 10)


@given(gaps, some.floats(0, 1_000))
def test_a_cut_is_never_empty_and_never_breaks_its_bounds(
    gaps: list[tuple[int, int]], wait: float
) -> None:
    records = sequence(gaps)
    count = cut(records, NOW + wait, LIMITS)
    if isinstance(count, int):
        taken = records[:count]
        assert 1 <= count <= 5
        assert taken[-1].timestamp_ms - taken[0].timestamp_ms <= 10_000
        assert count == 1 or sum(len(each.value or b"") for each in taken) <= 65_536
    else:
        assert count > NOW + wait


@given(gaps, some.lists(some.tuples(some.integers(0, 3), some.integers(1, 40)), max_size=20))
def test_what_was_looked_at_before_does_not_change_a_cut(
    gaps: list[tuple[int, int]], views: list[tuple[int, int]]
) -> None:
    """Views grow, shrink and move, as when a place is lost and comes back."""
    records = sequence(gaps)
    cutter = Cutter(LIMITS)
    for start, length in views:
        if view := records[start : start + length]:
            assert cutter.cut(view, NOW + length) == cut(view, NOW + length, LIMITS)
