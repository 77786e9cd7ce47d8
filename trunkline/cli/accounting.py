"""What became of a partition's offsets for a group: counts, and what is missing or double. Pure."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from trunkline.stream import Mark, Place
from trunkline.stream.note import Run, decode

_COUNT_MAX = 2


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a group has come in a partition, counted in offsets."""

    place: Place
    first: int  # the first offset kept
    end: int  # the next to be written
    mark: int | None  # None where the group has committed nothing
    settled_above: tuple[Run, ...] = ()
    note_problem: str | None = None  # why a note was not used: all above the mark is done again

    @property
    def settled(self) -> int:
        """Of what is kept."""
        below = min(self.mark or 0, self.end) - self.first
        return max(0, below) + length(self.settled_above)

    @property
    def unsettled(self) -> int:
        return self.end - self.first - self.settled

    @property
    def problem(self) -> str | None:
        if self.mark is None:
            return None
        if self.mark < self.first:
            gone = self.first - self.mark
            return f"retention took {gone} offsets before they were settled"
        if self.mark > self.end:
            return f"the mark {self.mark} lies beyond the end {self.end}: it is of another stream"
        return None


def standing(place: Place, ends: tuple[int, int], mark: Mark | None) -> Standing:
    first, end = ends
    if mark is None:
        return Standing(place, first, end, None)
    at = mark.next_offset
    try:
        stuck, noted_end = decode(mark.note, at)
    except ValueError as error:
        return Standing(place, first, end, at, note_problem=str(error))
    above, position = [], at
    for begin, last in (*stuck, (noted_end, noted_end)):
        if max(position, first) < min(begin, end):
            above.append((max(position, first), min(begin, end)))
        position = last
    return Standing(place, first, end, at, tuple(above))


class Ledger:
    """How often each offset of a partition is in the lake: one byte an offset."""

    def __init__(self, first: int, end: int) -> None:
        self._first = first
        self._counts = bytearray(max(0, end - first))
        self.lines = 0
        self.above: list[int] = []  # the lake goes on while it is read

    def add(self, offset: int) -> None:
        self.lines += 1
        at = offset - self._first
        if at >= len(self._counts):
            self.above.append(offset)
        elif at >= 0 and self._counts[at] < _COUNT_MAX:
            self._counts[at] += 1

    def double(self) -> list[Run]:
        return list(self._runs(b"\x02+", self._first, self._first + len(self._counts)))

    def lacking(self, wanted: Iterable[Run]) -> list[Run]:
        return [run for first, last in wanted for run in self._runs(b"\x00+", first, last)]

    def _runs(self, pattern: bytes, first: int, last: int) -> Iterator[Run]:
        base = self._first
        for match in re.compile(pattern).finditer(self._counts, first - base, last - base):
            yield base + match.start(), base + match.end()


def wanted(standing: Standing, first_published: int | None) -> list[Run]:
    """What the lake must hold: all that is settled, from the first that was ever published."""
    if standing.mark is None:
        return []
    first = standing.first if first_published is None else min(standing.first, first_published)
    last = min(standing.mark, standing.end)
    return [*([(first, last)] if first < last else []), *standing.settled_above]


def without(runs: Iterable[Run], excused: Collection[int]) -> list[Run]:
    """The runs but for some offsets in them."""
    found: list[Run] = []
    for first, last in runs:
        position = first
        for offset in sorted(it for it in excused if first <= it < last):
            if position < offset:
                found.append((position, offset))
            position = offset + 1
        if position < last:
            found.append((position, last))
    return found


def length(runs: Iterable[Run]) -> int:
    return sum(last - first for first, last in runs)


def text(runs: Collection[Run], most: int = 5) -> str:
    """`17, 20-25`; what is too much is counted."""
    words = [str(first) if last == first + 1 else f"{first}-{last - 1}" for first, last in runs]
    more = f" and {len(words) - most} runs more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
