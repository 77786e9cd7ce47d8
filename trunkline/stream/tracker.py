"""What of a partition is settled, under one assignment, and so how far its mark may go. Pure.

Only what was delivered is tracked: offsets in between that never come (compacted, transaction
markers) are complete by themselves, because deliveries of a partition only go up.
"""

from typing import Generic, TypeVar

from trunkline.stream import Mark, note

STUCK_MAX = 1_500
SPAN_MAX = 500_000

Item = TypeVar("Item")


class Tracker(Generic[Item]):
    """The mark never passes an unsettled offset nor the highest delivered, and never goes down."""

    __slots__ = ("_cut", "_end", "_noted", "_noted_end", "delivered", "note_problem", "unsettled")

    def __init__(self, mark: Mark) -> None:
        self.unsettled: dict[int, Item] = {}  # ascending, because deliveries only go up
        self.delivered = mark.next_offset - 1  # the highest
        self.note_problem: str | None = None  # why the note was not used: all is done again
        try:
            stuck, end = note.decode(mark.note, mark.next_offset)
        except ValueError as error:
            stuck, end = [], mark.next_offset
            self.note_problem = str(error)
        self._noted = stuck[::-1]  # stuck by the note and not delivered yet; lowest last
        self._noted_end = end
        self._end = end  # behind the highest settled
        self._cut = False

    def admit(self, offset: int, item: Item) -> bool:
        """Take a delivery in; False if the note says that it is settled."""
        assert offset > self.delivered, "deliveries of a partition only go up"
        self.delivered = offset
        if offset < self._noted_end and not self._is_stuck(offset):
            return False
        self.unsettled[offset] = item
        return True

    def settle(self, offset: int) -> Item:
        item = self.unsettled.pop(offset)
        if offset >= self._end:
            self._end = offset + 1
        return item

    def mark(self) -> Mark:
        """As it may be committed now. Takes as long as there are unsettled ones."""
        lowest = self.next_offset
        text, self._cut = note.encode(lowest, self._stuck(), self._end)
        return Mark(lowest, text)

    @property
    def next_offset(self) -> int:
        return next(iter(self.unsettled), self.delivered + 1)

    @property
    def oldest(self) -> Item | None:
        """The lowest unsettled one: what holds the mark."""
        return next(iter(self.unsettled.values()), None)

    @property
    def span(self) -> int:
        """From the lowest unsettled offset to the highest delivered."""
        return self.delivered + 1 - self.next_offset

    @property
    def full(self) -> bool:
        """The note has no room for more: take no new deliveries until the mark moves."""
        return self._cut or self.span >= SPAN_MAX or self._stuck_many()

    def _stuck_many(self) -> bool:
        unsettled, end = self.unsettled, self._end
        if len(unsettled) < STUCK_MAX or next(iter(unsettled)) >= end:
            return False  # where all is settled in order nothing is stuck, however much waits
        return sum(offset < end for offset in unsettled) >= STUCK_MAX

    def _is_stuck(self, offset: int) -> bool:
        noted = self._noted
        while noted and noted[-1][1] <= offset:
            noted.pop()
        return bool(noted) and noted[-1][0] <= offset

    def _stuck(self) -> list[note.Run]:
        """Of what lies below the highest settled: delivered and unsettled, then not delivered."""
        end, following = self._end, self.delivered + 1
        found = note.runs(offset for offset in self.unsettled if offset < end)
        noted = ((max(first, following), last) for first, last in reversed(self._noted))
        return found + [(first, last) for first, last in noted if first < last]
