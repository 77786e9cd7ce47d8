"""What the witness keeps of each assignment of a place to a process."""

from dataclasses import dataclass, field

from trunkline.stream import Mark, Place, note


class Claim:
    """What a mark says is settled."""

    def __init__(self, mark: Mark) -> None:
        self.next = mark.next_offset
        try:
            self._stuck, self.end = note.decode(mark.note, mark.next_offset)
        except ValueError:
            self._stuck, self.end = [], mark.next_offset

    def covers(self, offset: int) -> bool:
        if offset < self.next:
            return True
        stuck = any(first <= offset < last for first, last in self._stuck)
        return offset < self.end and not stuck


@dataclass(slots=True, eq=False)
class Epoch:
    """A place in the hands of a process, from its being told to its giving up."""

    process: str
    place: Place
    given: Claim
    since: float
    committed: int
    settled: dict[int, float] = field(default_factory=dict)  # its marks may say so
    owed: dict[int, float] = field(default_factory=dict)  # it knows, so its marks must say so
    waiting: set[int] = field(default_factory=set)  # delivered and unsettled
    runs: list["Run"] = field(default_factory=list)
    over: bool = False


@dataclass(slots=True, eq=False)
class Run:
    epoch: Epoch | None  # None: it was deferred before
    place: Place
    line: object
    offsets: list[int]
    ends_at: float  # as planned
