"""Which dead letters are open, which of them are meant, and what is appended about them. Pure.

The topic of dead letters is only ever appended to. What became of a letter is a record behind
it, with the letter's own key and so in its partition: retention takes the letter before it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from trunkline.clock import parse_rfc3339
from trunkline.envelope import Envelope
from trunkline.stream import Delivery, Record
from trunkline.worker import letters
from trunkline.worker.letters import Letter

REPLAYED, DROPPED = "replayed", "dropped"
REPLAY_OF = "tl-replay-of"
_SETTLED = "tl-dead-settled"
_POSITION = "tl-dead-position"
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a letter lies in the topic of dead letters."""

    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> "Position":
        if not re.fullmatch(r"[0-9]{1,10}:[0-9]{1,19}", text):
            raise ValueError(f"{text!r} is no position; they look like 3:17")
        partition, _, offset = text.partition(":")
        return cls(int(partition), int(offset))

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Found:
    """A letter and where it lies."""

    position: Position
    at: float  # when it died, Unix
    record_key: bytes  # of the letter's own record: what is said of it goes the same way
    letter: Letter

    @property
    def original(self) -> Envelope:
        letter = self.letter
        return Envelope.of(
            Delivery(
                topic=letter.topic,
                partition=letter.partition,
                offset=letter.offset,
                timestamp_ms=letter.timestamp_ms,
                key=letter.key,
                value=letter.value,
                headers=letter.headers,
            )
        )


@dataclass(slots=True)
class Letters:
    """All that the topic tells: letters, what became of some, and what is neither."""

    found: dict[Position, Found] = field(default_factory=dict)
    settled: dict[Position, str] = field(default_factory=dict)
    foreign: list[Position] = field(default_factory=list)

    def add(self, delivery: Delivery) -> None:
        position = Position(delivery.partition, delivery.offset)
        try:
            letter = letters.read(delivery)
        except ValueError:
            settlement = _settlement(delivery)
            if settlement is None:
                self.foreign.append(position)
            else:
                # The first word counts: what two operators said at once happened in that order.
                self.settled.setdefault(*settlement)
            return
        at = delivery.timestamp_ms / 1_000
        self.found[position] = Found(position, at, delivery.key or b"", letter)

    def open(self) -> Iterator[Found]:
        """Oldest first."""
        still = (it for it in self.found.values() if it.position not in self.settled)
        return iter(sorted(still, key=lambda it: (it.at, it.position)))


@dataclass(frozen=True, slots=True)
class Selection:
    """Every filter that is set must match; of several values of one any."""

    positions: frozenset[Position] = frozenset()
    reasons: tuple[str, ...] = ()
    processors: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    key: str | None = None
    since: float | None = None
    until: float | None = None

    @property
    def everything(self) -> bool:
        return self == Selection()

    def admits(self, found: Found) -> bool:
        letter = found.letter
        return (
            (not self.positions or found.position in self.positions)
            and (not self.reasons or any(fnmatchcase(letter.reason, it) for it in self.reasons))
            and (not self.processors or letter.processor in self.processors)
            and (not self.topics or letter.topic in self.topics)
            and self.key in (None, found.original.key)
            and (self.since is None or found.at >= self.since)
            and (self.until is None or found.at < self.until)
        )

    def of(self, open_letters: Iterable[Found]) -> list[Found]:
        return [found for found in open_letters if self.admits(found)]


def moment(text: str, now: float) -> float:
    """`2h` ago, or a date-time with its zone. ValueError if it is neither."""
    if match := re.fullmatch(r"([0-9]{1,6})([smhd])", text):
        return now - int(match[1]) * _UNITS[match[2]]
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither like 30m, 2h or 3d nor like 2026-01-31T12:00:00Z"
        ) from None


def obstacle(letter: Letter) -> str | None:
    """Why the original cannot be appended again as it was; None if it can."""
    if letter.cut:
        parts = " and ".join(sorted(letter.cut))
        return f"it was too large to be kept whole, its {parts} is cut off"
    if letter.key is None or letter.value is None:
        return "its key or value was null, and such records are never appended by Trunkline"
    return None


def replay(found: Found, now: float) -> Record:
    """The original once more: same bytes, same id, and where it comes from on top."""
    letter = found.letter
    assert letter.key is not None, "obstacle() was asked"
    assert letter.value is not None, "obstacle() was asked"
    headers = (*letter.headers, (REPLAY_OF, str(found.position).encode()))
    return Record(letter.topic, letter.key, letter.value, headers, int(now * 1_000))


def settlement(found: Found, how: str, topic: str, now: float) -> Record:
    headers = ((_SETTLED, how.encode()), (_POSITION, str(found.position).encode()))
    return Record(topic, found.record_key, b"", headers, int(now * 1_000))


def _settlement(delivery: Delivery) -> tuple[Position, str] | None:
    headers = {name: value.decode("utf-8", "replace") for name, value in delivery.headers}
    how = headers.get(_SETTLED)
    if how not in (REPLAYED, DROPPED):
        return None
    try:
        return Position.parse(headers.get(_POSITION, "")), how
    except ValueError:
        return None
