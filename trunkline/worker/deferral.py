"""A deferred delivery: the record as it was, for whom, until when; and where it waits. Pure.

Each tier is a topic in which every record waits equally long, so that who comes first is ready
first. A delivery goes to the longest tier that is not too long, and from there to the next, until
it is due: any delay is made of hops. What is handled then is the original delivery, from where it
first lay, in a line of its own partition of the tier: its order among others ended when it was
deferred.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from trunkline.clock import parse_rfc3339, rfc3339
from trunkline.stream import Delivery, Headers, Record

_FOR = "tl-for"  # the first of ours: what stands before it is the original's
_DUE, _ORIGIN, _HOPS, _NULL = "tl-due", "tl-origin", "tl-hops", "tl-null"
_DUE_MAX = 253_402_300_799.0  # of the year 9999, the last that dates can say


@dataclass(slots=True, eq=False)
class Deferral:
    """What is known of a delivery that was deferred, and lies in a tier now."""

    offset: int  # there
    due: float  # Unix
    ready: float  # when the tier has nothing more to give: due, or to be moved on
    hops: int
    awake: bool = False  # it was found due: from now on it is an event like any other


class Tiers:
    def __init__(self, topics: Mapping[int, str]) -> None:
        """Topics by the seconds that one waits in them."""
        self._seconds = {topic: seconds for seconds, topic in sorted(topics.items())}

    @property
    def topics(self) -> list[str]:
        return list(self._seconds)

    def __contains__(self, topic: object) -> bool:
        return topic in self._seconds

    def seconds(self, topic: str) -> int:
        return self._seconds[topic]

    def choose(self, seconds: float) -> str:
        """The longest that is not longer than this, or the shortest."""
        topics = self.topics
        fitting = [topic for topic in topics if self._seconds[topic] <= seconds]
        return fitting[-1] if fitting else topics[0]


@dataclass(frozen=True, slots=True)
class Sleepers:
    """Those among the records of the tiers that are addressed to one processor."""

    tiers: Tiers
    processor: str

    def ours(self, delivery: Delivery) -> bool:
        return addressee(delivery) == self.processor.encode()

    def read(self, delivery: Delivery) -> tuple[Delivery, Deferral]:
        return read(delivery, self.tiers.seconds(delivery.topic))

    def write(self, delivery: Delivery, due: float, hops: int, now: float) -> Record:
        return write(delivery, self.processor, due, hops, tiers=self.tiers, now=now)


def sayable(until: float) -> bool:
    """Whether it is a time at all."""
    return math.isfinite(until) and 0 <= until <= _DUE_MAX


def write(
    delivery: Delivery, processor: str, due: float, hops: int, *, tiers: Tiers, now: float
) -> Record:
    """`delivery` is the original, also when this is not its first hop."""
    at = (delivery.topic, delivery.partition, delivery.offset, delivery.timestamp_ms)
    ours = {
        _FOR: processor,
        # Rounded up, or it would be due too soon; but for what floats add, or it would drift.
        _DUE: rfc3339(math.ceil(due * 1_000 - 0.001) / 1_000 + 1e-6),
        _ORIGIN: "/".join(map(str, at)),
        _HOPS: str(hops),
    }
    missing = [name for name in ("key", "value") if getattr(delivery, name) is None]
    if missing:
        ours[_NULL] = ",".join(missing)
    headers = tuple((name, text.encode()) for name, text in ours.items())
    return Record(
        tiers.choose(due - now),
        delivery.key or b"",
        delivery.value or b"",
        (*delivery.headers, *headers),
        int(now * 1_000),
    )


def addressee(delivery: Delivery) -> bytes | None:
    """Whom it is for, if it says so; the last of several: the original may be a deferral."""
    return next((text for name, text in reversed(delivery.headers) if name == _FOR), None)


def read(delivery: Delivery, tier_seconds: float) -> tuple[Delivery, Deferral]:
    """The original, and how it waits. Raises ValueError if the record is no deferral."""
    names = [name for name, _ in delivery.headers]
    if _FOR not in names:
        raise ValueError("not a deferral: it does not say for whom it is")
    at = len(names) - 1 - names[::-1].index(_FOR)
    ours = {name: text.decode() for name, text in delivery.headers[at:]}
    try:
        due = parse_rfc3339(ours[_DUE])
        topic, partition, offset, timestamp_ms = ours[_ORIGIN].rsplit("/", 3)
        hops = int(ours[_HOPS])
        place = int(partition), int(offset), int(timestamp_ms)
    except KeyError as missing:
        raise ValueError(f"not a deferral: it lacks {missing}") from None
    null = ours.get(_NULL, "").split(",")
    original = _original(delivery, topic, place, null, delivery.headers[:at])
    ready = min(due, delivery.timestamp_ms / 1_000 + tier_seconds)
    return original, Deferral(delivery.offset, due, ready, hops)


def _original(
    delivery: Delivery,
    topic: str,
    place: tuple[int, int, int],
    null: list[str],
    headers: Headers,
) -> Delivery:
    partition, offset, timestamp_ms = place
    return Delivery(
        topic,
        partition,
        offset,
        timestamp_ms,
        None if "key" in null else delivery.key,
        None if "value" in null else delivery.value,
        headers,
    )


def wait(deferral: Deferral, now: float) -> float | None:
    """How long it is to stay where it is; 0 if it must move on; None if it is due."""
    if now >= deferral.due:
        return None
    return max(0.0, deferral.ready - now)
