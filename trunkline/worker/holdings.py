"""What of the stream is ours now, what of it is settled, and how much more may come. Pure."""

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from trunkline.errors import StreamUnavailable
from trunkline.outcome import Dead
from trunkline.settings import WorkerSection
from trunkline.stream import Delivery, Mark, Place
from trunkline.stream.tracker import Tracker
from trunkline.worker.deferral import Sleepers
from trunkline.worker.lines import Lane, Lines, Work
from trunkline.worker.processor import Line
from trunkline.worker.retries import after, raised

NO_LINE = "no line"
NO_DEFERRAL = "no deferral"
_RECORD_BYTES = 1_024  # a round allowance for headers and for what holds a record here


@dataclass(slots=True, eq=False)
class Holding:
    """A place under one assignment."""

    place: Place
    lane: Lane
    tracker: Tracker[Work]
    committed: Mark
    tier: bool = False  # what lies here waits until it is due
    touched: bool = False  # the mark may have moved since it was last committed
    held: bool = False
    unposted: set[int] = field(default_factory=set)  # dead, but their letters could not be posted

    @property
    def bytes_held(self) -> int:
        return sum(work.size_bytes for work in self.tracker.unsettled.values())

    @property
    def in_flight(self) -> int:
        unsettled = self.tracker.unsettled
        return sum(not work.asleep for work in unsettled.values()) if self.tier else len(unsettled)


class Holdings:
    """Counts are derived from the trackers: what is unsettled there is in flight, nothing else."""

    def __init__(
        self,
        limits: WorkerSection,
        lines: Lines,
        line_of: Callable[[Delivery], Line],
        sleepers: Sleepers | None = None,
    ) -> None:
        self._limits = limits
        self._lines = lines
        self._line_of = line_of
        self._sleepers = sleepers
        self._epochs = itertools.count(1)
        self._by_epoch: dict[int, Holding] = {}
        self._held_by_all = False
        self.places: dict[Place, Holding] = {}
        self.delivered = 0
        self.abandoned = 0

    def assign(self, marks: Mapping[Place, Mark]) -> list[Holding]:
        """Each of these begins anew, also what we thought was ours."""
        self.drop([self.places[place] for place in marks if place in self.places])
        made = []
        for place, mark in marks.items():
            epoch = next(self._epochs)
            tier = self.sleep_in(place[0])
            holding = Holding(place, Lane(epoch), Tracker(mark), mark, tier)
            self.places[place] = self._by_epoch[epoch] = holding
            made.append(holding)
        return made

    def admit(self, deliveries: Iterable[Delivery], now: float, unix: float = 0.0) -> None:
        """Take deliveries in, each into its line, but for those the note calls settled.

        Raises StreamUnavailable if they do not continue what we hold: then we must join anew.
        """
        places, add = self.places, self._lines.add
        for delivery in deliveries:
            offset = delivery.offset
            holding = places.get((delivery.topic, delivery.partition))
            if holding is None:
                raise StreamUnavailable(
                    f"{delivery.topic}/{delivery.partition} is delivered but not assigned"
                )
            lane, tracker = holding.lane, holding.tracker
            if lane.stopped:
                continue
            if offset <= tracker.delivered:
                raise StreamUnavailable(
                    f"{delivery.topic}/{delivery.partition} went back"
                    f" from {tracker.delivered} to {offset}"
                )
            work = Work(delivery, _size(delivery), now)
            holding.touched = True
            if not tracker.admit(offset, work):
                continue
            if holding.tier:
                self._admit_sleeper(holding, work, now - unix)
                continue
            self.delivered += 1
            add(lane, self._line(work), work)

    def _admit_sleeper(self, holding: Holding, work: Work, monotonic: float) -> None:
        """Of a tier's records, those for others are none of ours; and ours wait."""
        assert self._sleepers is not None
        place, offset = holding.place, work.delivery.offset
        if not self._sleepers.ours(work.delivery):
            holding.tracker.settle(offset)
            return
        line = (*place, b"@%d" % offset)
        try:
            work.delivery, work.deferral = self._sleepers.read(work.delivery)
        except ValueError as error:
            work.trouble = after(None, raised(error), work.delivery.timestamp_ms / 1_000, 0)
            work.verdict = Dead(NO_DEFERRAL)
            self.delivered += 1
            self._lines.add(holding.lane, line, work)
        else:
            until = work.deferral.ready + monotonic
            self._lines.rest(holding.lane, line, work, until)

    def awake(self, lane: Lane, place: Place, work: Work, now: float) -> None:
        """It is due: an event like any other from now on, in a line of the place it lies in."""
        assert work.deferral is not None
        work.deferral.awake = True
        work.admitted_at = now
        self.delivered += 1
        topic, partition, key = self._line(work)
        self._lines.add(lane, (*place, f"{topic}/{partition}=".encode() + key), work)

    def settle(self, epoch: int, work: Work) -> bool:
        """False if it is too late: the assignment has ended, and the event is somebody else's."""
        holding = self._by_epoch.get(epoch)
        if holding is None:
            return False
        holding.tracker.settle(work.offset)
        holding.unposted.discard(work.offset)
        holding.touched = True
        return True

    def unposted(self, epoch: int, work: Work) -> None:
        """The place is held until the letter is durable, so that no flood passes by it."""
        holding = self._by_epoch.get(epoch)
        if holding is not None:
            holding.unposted.add(work.offset)

    def sleep_in(self, topic: str) -> bool:
        return self._sleepers is not None and topic in self._sleepers.tiers

    def stop(self, places: Collection[Place]) -> list[Holding]:
        """Begin nothing more of these, take nothing more in."""
        found = [self.places[place] for place in places if place in self.places]
        for holding in found:
            self._lines.stop(holding.lane)
        return found

    def current(self, holding: Holding) -> bool:
        return holding.lane.epoch in self._by_epoch

    def drop(self, holdings: Iterable[Holding]) -> None:
        for holding in holdings:
            if self._by_epoch.pop(holding.lane.epoch, None) is not None:
                del self.places[holding.place]
                self.abandoned += holding.in_flight
                self._lines.drop(holding.lane)

    def held(self) -> set[Place]:
        """What to fetch nothing of for now: each bound is met with half of it as slack."""
        limits = self._limits
        total = 0
        for holding in self.places.values():
            size = holding.bytes_held
            total += size
            share = 2 if holding.held else 1
            over = (
                share * len(holding.tracker.unsettled) > limits.place_records_max
                or share * size > limits.place_bytes_max
            )
            # Whoever asks for more before it can do anything would else wait for ever.
            over = over and not holding.lane.asking
            holding.held = over or bool(holding.unposted) or holding.tracker.full
        self._held_by_all = (2 if self._held_by_all else 1) * total > limits.held_bytes_max
        if self._held_by_all:
            return set(self.places)
        return {place for place, holding in self.places.items() if holding.held}

    def changed(self, among: Iterable[Holding] | None = None) -> list[tuple[Holding, Mark]]:
        """Whose mark is not what was last committed, and what it is."""
        found = []
        for holding in self.places.values() if among is None else among:
            if holding.touched and self.current(holding):
                holding.touched = False
                mark = holding.tracker.mark()
                if mark != holding.committed:
                    found.append((holding, mark))
        return found

    @property
    def in_flight(self) -> int:
        return sum(holding.in_flight for holding in self.places.values())

    @property
    def bytes_held(self) -> int:
        return sum(holding.bytes_held for holding in self.places.values())

    def oldest_timestamp_ms(self) -> float | None:
        """Of the events that hold the marks, the oldest."""
        oldest = (holding.tracker.oldest for holding in self.places.values())
        return min((work.since_ms for work in oldest if work), default=None)

    def _line(self, work: Work) -> Line:
        delivery = work.delivery
        try:
            return self._line_of(delivery)
        except Exception as error:  # noqa: BLE001  # a record from anywhere; it must not stop the others
            work.trouble = after(None, raised(error), delivery.timestamp_ms / 1_000, 0)
            work.verdict = Dead(NO_LINE)
            return delivery.topic, delivery.partition, delivery.key or b""


def _size(delivery: Delivery) -> int:
    return len(delivery.value or b"") + len(delivery.key or b"") + _RECORD_BYTES
