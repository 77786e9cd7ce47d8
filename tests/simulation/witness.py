"""Sees all that happens and judges it: what was settled by whom, and what may be claimed of it."""

from collections.abc import Mapping, Sequence

from tests.simulation.broker import Broker
from tests.simulation.deferrals import Deferrals, origin_of
from tests.simulation.epochs import Claim, Epoch, Run
from tests.simulation.plan import TIERS
from tests.simulation.virtual import Process, VirtualLoop
from trunkline.outcome import Done, Outcome, Skipped, Stale
from trunkline.stream import NOTE_BYTES_MAX, Delivery, Mark, Place, Record
from trunkline.worker import letters

QUICK_SECONDS = 1.0  # what ends within this is drained by every revocation
FRESH_SECONDS = 3.0  # what is settled longer than this is committed, if nothing is in the way


class Violation(AssertionError):
    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant


class Witness:
    def __init__(self, loop: VirtualLoop, broker: Broker, group: str, *, by_key: bool) -> None:
        self._by_key = by_key
        self.waiting_max = 1_000_000
        self._loop = loop
        self._broker = broker
        self._group = broker.group(group)
        self.story: list[tuple[float, str]] = []
        self.epochs: dict[tuple[str, Place], Epoch] = {}
        self.settled: dict[tuple[Place, int], int] = {}  # how often, by result
        self.buried: dict[tuple[Place, int], int] = {}  # how often, by letter
        self.running: dict[tuple[str, object], Run] = {}
        self.deferrals = Deferrals()
        self.unclean: set[Place] = set()  # where a repetition may have a cause
        self.fallen: set[str] = set()
        self.starts = 0
        self.repeats = 0
        self._letting: dict[str, float] = {}
        self._stopping: dict[str, float] = {}
        self._disturbed_at: dict[str, float] = {}
        broker.committed = self.committed

    def tell(self, text: str) -> None:
        self.story.append((self._loop.time(), text))

    def violated(self, invariant: str, text: str) -> None:
        """The run ends with the next step: raised here, the worker might catch it."""
        self.tell(f"VIOLATED {invariant}: {text}")
        if self._loop.failure is None:
            self._loop.failure = Violation(invariant, text)

    # What a process is told.

    def assigned(self, process: Process, marks: Mapping[Place, Mark]) -> None:
        for place, mark in marks.items():
            claim, now = Claim(mark), self._loop.time()
            self.epochs[process.name, place] = Epoch(
                process.name, place, claim, now, mark.next_offset
            )
        said = {f"{topic}/{part}": mark.next_offset for (topic, part), mark in marks.items()}
        self.tell(f"{process.name} is assigned {said}")

    def delivered(self, process: Process, found: Sequence[Delivery]) -> None:
        for it in found:
            epoch = self.epochs[process.name, (it.topic, it.partition)]
            if not epoch.given.covers(it.offset) and it.topic not in TIERS:
                epoch.waiting.add(it.offset)
                if len(epoch.waiting) > self.waiting_max:
                    self.violated("I7", f"{process.name} holds {sorted(epoch.waiting)}")

    def dropped(self, process: Process, places: Sequence[Place]) -> None:
        for place in places:
            self.unclean.add(place)
            self._over(self.epochs.get((process.name, place)))

    def stopping(self, process: Process) -> None:
        self._stopping[process.name] = self._loop.time()
        self.tell(f"{process.name} is asked to stop")

    def closed(self, process: Process) -> None:
        """The membership is closed: after a stop, or because it had come to its end."""
        asked = self._stopping.get(process.name)
        for epoch in self._mine(process):
            if asked is not None and self.is_calm(process.name, asked):
                self._judge_handover(epoch, asked)
            else:
                self.unclean.add(epoch.place)
            self._over(epoch)

    def _mine(self, process: Process) -> list[Epoch]:
        """What the process holds."""
        found = [it for it in self.epochs.values() if it.process == process.name]
        return [it for it in found if not it.over]

    def holds(self, process: Process, place: Place) -> bool:
        epoch = self.epochs.get((process.name, place))
        return epoch is not None and not epoch.over

    def _over(self, epoch: Epoch | None) -> None:
        if epoch is not None:
            epoch.over = True
            epoch.waiting.clear()

    # What the processor does.

    def begins(
        self, process: Process, line: object, deliveries: Sequence[Delivery], ends_at: float
    ) -> Run:
        first = deliveries[0]
        place = first.topic, first.partition
        epoch = self.epochs.get((process.name, place))
        offsets = [it.offset for it in deliveries]
        self.tell(f"{process.name} begins {place} {first.key!r} {offsets}")
        if (place, first.offset) in self.deferrals.due:
            return self._begins_again(process, deliveries, ends_at)
        if epoch is None or epoch.over:
            self.violated("I2", f"{process.name} begins {place} {offsets}, which is not its own")
            epoch = epoch or Epoch(process.name, place, Claim(Mark(0)), 0.0, 0)
        if (process.name, line) in self.running:
            self.violated("I4", f"{process.name} runs two of {line} at once: {offsets}")
        for offset in offsets:
            self._begin_one(epoch, offset)
        for earlier in self._earlier(epoch, deliveries[0]):
            if not self._is_settled(epoch, earlier):
                text = f"{place} {offsets} begins before {earlier} of its line is settled"
                self.violated("I4", text)
        run = Run(epoch, place, line, offsets, ends_at)
        self.running[process.name, line] = run
        epoch.runs.append(run)
        return run

    def _begins_again(
        self, process: Process, deliveries: Sequence[Delivery], ends_at: float
    ) -> Run:
        """These were deferred: their line is no matter any more, but it must be time."""
        first = deliveries[0]
        place, now = (first.topic, first.partition), process.clock.now()
        for it in deliveries:
            self.starts += 1
            epoch = self.epochs.get((process.name, place))
            here = epoch is not None and not epoch.over and not epoch.given.covers(it.offset)
            due = self.deferrals.due.get((place, it.offset), 0.0)
            # Where its first place is in these hands, it may be that it is to be deferred again.
            if not here and now < due - 0.002:
                self.violated("I15", f"{place} {it.offset} runs {due - now:.3f} s too soon")
        return Run(None, place, None, [it.offset for it in deliveries], ends_at)

    def _begin_one(self, epoch: Epoch, offset: int) -> None:
        self.starts += 1
        if epoch.given.covers(offset):
            self.violated("I5", f"{epoch.place} {offset} is settled by the mark it began from")
        if offset in epoch.owed:
            self.violated("I5", f"{epoch.place} {offset} runs again though it is settled")
        if (epoch.place, offset) in self.settled:
            self.repeats += 1

    def _earlier(self, epoch: Epoch, first: Delivery) -> list[int]:
        log = self._broker.logs.of[epoch.place].records
        mine = (it for it in log if epoch.given.next <= it.offset < first.offset)
        if self._by_key:
            return [it.offset for it in mine if it.key == first.key]
        return [it.offset for it in mine if it.value != b"lineless"]

    def ends(self, process: Process, run: Run, outcomes: Sequence[Outcome]) -> None:
        self.left(process, run)
        for offset, outcome in zip(run.offsets, outcomes, strict=True):
            if isinstance(outcome, Done | Skipped | Stale):
                epoch = self.epochs.get((process.name, run.place))
                if run.epoch is not None:
                    self._settle(run.epoch, offset)
                elif epoch is not None:
                    # Perhaps it was not the deferred one that ran, but the first one once more.
                    epoch.settled.setdefault(offset, self._loop.time())
                    epoch.waiting.discard(offset)
                where = run.place, offset
                self.settled[where] = self.settled.get(where, 0) + 1
        said = [type(it).__name__ for it in outcomes]
        self.tell(f"{process.name} ends {run.place} {run.offsets} {said}")

    def left(self, process: Process, run: Run) -> None:
        """The processor runs no more, whatever came of it."""
        if run.epoch is not None and run in run.epoch.runs:
            run.epoch.runs.remove(run)
        if self.running.get((process.name, run.line)) is run:
            del self.running[process.name, run.line]

    def _settle(self, epoch: Epoch, offset: int) -> None:
        epoch.settled.setdefault(offset, self._loop.time())
        epoch.owed.setdefault(offset, self._loop.time())
        epoch.waiting.discard(offset)

    def _is_settled(self, epoch: Epoch, offset: int) -> bool:
        return epoch.given.covers(offset) or offset in epoch.settled

    def felled(self, process: Process) -> None:
        """Its handler raised what nobody may catch: it dies, without a promise."""
        self._disturbed_at[process.name] = float("inf")
        self.fallen.add(process.name)
        self.unclean.update(epoch.place for epoch in self._mine(process))

    # What reaches the broker.

    def posting(self, process: Process, records: Sequence[Record]) -> list[Epoch | None]:
        """By which epoch these letters are written."""
        found = []
        for it in records:
            (place, _), moves = origin_of(it)
            found.append(None if moves else self.epochs.get((process.name, place)))
        return found

    def landed(self, epoch: Epoch | None, delivery: Delivery) -> None:
        by = epoch.process if epoch else "?"
        if delivery.topic in TIERS:
            place, offset = self.deferrals.landed(delivery)
            self.tell(f"{by} defers {place} {offset} in {delivery.topic} {delivery.offset}")
        else:
            letter = letters.read(delivery)
            place, offset = (letter.topic, letter.partition), letter.offset
            self.buried[place, offset] = self.buried.get((place, offset), 0) + 1
            self.tell(f"{by} buries {place} {offset}: {letter.reason}")
        if epoch is None or epoch.over:
            self.unclean.add(place)
        if epoch is not None:
            epoch.settled.setdefault(offset, self._loop.time())

    def heard(self, epoch: Epoch | None, record: Record, *, durable: bool) -> None:
        """What the process is told of its letter."""
        if epoch is not None and durable:
            self._settle(epoch, origin_of(record)[0][1])
        elif epoch is not None:
            self.unclean.add(epoch.place)

    def committing(self, process: Process, marks: Mapping[Place, Mark]) -> None:
        for place, mark in marks.items():
            size = len(mark.note.encode())
            if size > NOTE_BYTES_MAX:
                self.violated("I6", f"{process.name} commits a note of {size} bytes for {place}")

    def committed(self, process: str, member: str, marks: Mapping[Place, Mark]) -> None:
        for place, mark in marks.items():
            epoch = self.epochs.get((process, place))
            if epoch is None or place not in self._group.seats[member].places:
                self.violated("I2", f"{process} commits {place}, which is not its own")
                continue
            if mark.next_offset < epoch.committed:
                text = f"{process} moves {place} back from {epoch.committed} to {mark.next_offset}"
                self.violated("I2", text)
            epoch.committed = mark.next_offset
            claim = Claim(mark)
            for it in self._broker.logs.of[place].records:
                if claim.covers(it.offset) and not self._may_claim(epoch, it):
                    text = f"{process} commits {place} {it.offset}, which it has not settled"
                    self.violated("I1", text)

    def _may_claim(self, epoch: Epoch, it: Delivery) -> bool:
        if it.topic in TIERS:
            return self.deferrals.settled((epoch.place, it.offset), self.settled)
        return self._is_settled(epoch, it.offset)

    # How a process lets go.

    def revoking(self, process: Process) -> None:
        self._letting[process.name] = self._loop.time()
        self.tell(f"{process.name} is asked to let go")

    def revoked(self, process: Process, places: Sequence[Place], budget: float) -> None:
        began = self._letting.pop(process.name)
        took = self._loop.time() - began
        calm = self.is_calm(process.name, began)
        self.tell(f"{process.name} has let go in {took:.2f} s{'' if calm else ', disturbed'}")
        if calm and took > budget - 0.01:
            self.violated("I9", f"{process.name} lets go in {took:.2f} s")
        for place in places:
            epoch = self.epochs[process.name, place]
            if calm:
                self._judge_handover(epoch, began)
            else:
                self.unclean.add(place)
            self._over(epoch)

    def _judge_handover(self, epoch: Epoch, began: float) -> None:
        claim = Claim(self._group.marks.get(epoch.place, Mark(epoch.given.next)))
        for offset, at in epoch.owed.items():
            if not claim.covers(offset):
                self.unclean.add(epoch.place)
                if at <= began + QUICK_SECONDS:
                    text = f"{epoch.process} lets {epoch.place} go without noting {offset}"
                    self.violated("I5", text)
        for run in epoch.runs:
            self.unclean.add(epoch.place)
            if run.ends_at <= began + QUICK_SECONDS:
                text = f"{epoch.process} does not wait for {epoch.place} {run.offsets}"
                self.violated("I5", text)

    def is_calm(self, process: str, since: float) -> bool:
        """Nothing stood between the process and the broker."""
        last = max(self._broker.troubled.get(process, -1.0), self._disturbed_at.get(process, -1.0))
        return self._broker.reachable(process) and last < since

    def disturbed(self, process: Process, *, still: bool) -> None:
        """It is paused, or goes on."""
        self._disturbed_at[process.name] = float("inf") if still else self._loop.time()
        self.unclean.update(epoch.place for epoch in self._mine(process))

    def crashed(self, process: Process) -> None:
        now = self._loop.time()
        self.tell(f"{process.name} is gone")
        for epoch in self._mine(process):
            self.unclean.add(epoch.place)
            if self.is_calm(process.name, now - 2 * FRESH_SECONDS):
                self._judge_freshness(epoch, now)
            self._over(epoch)
        self.running = {at: run for at, run in self.running.items() if at[0] != process.name}

    def _judge_freshness(self, epoch: Epoch, now: float) -> None:
        claim = Claim(self._group.marks.get(epoch.place, Mark(epoch.given.next)))
        for offset, at in epoch.owed.items():
            if at < now - FRESH_SECONDS and not claim.covers(offset):
                text = f"{epoch.place} {offset}, settled {now - at:.1f} s ago, is not committed"
                self.violated("I5", text)
