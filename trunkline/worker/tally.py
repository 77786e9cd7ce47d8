"""Counts for one processor: where each event that was taken in has come to."""

from dataclasses import dataclass

from trunkline.metrics import OUTCOMES, Metrics
from trunkline.outcome import Dead, Deferred, Done, Outcome, Skipped, Stale

_LABELS: dict[type[Outcome], str] = {
    Done: "done",
    Skipped: "skipped",
    Stale: "stale",
    Deferred: "deferred",
    Dead: "dead",
}


@dataclass(frozen=True, slots=True)
class Account:
    """Delivered = settled + in flight + abandoned, whenever it is drawn up (P5)."""

    delivered: int
    settled: int
    in_flight: int
    abandoned: int

    @property
    def balanced(self) -> bool:
        return self.delivered == self.settled + self.in_flight + self.abandoned


class Tally:
    def __init__(self, metrics: Metrics, processor: str) -> None:
        self._of = metrics.processors
        self._processor = processor
        self._settled = self._of.settled.of
        self._keys = {kind: (processor, label) for kind, label in _LABELS.items()}
        for label in OUTCOMES:
            self._settled.setdefault((processor, label), 0)
        self._event_age = self._of.event_age_seconds.of(processor)
        self._queue = self._of.queue_seconds.of(processor)
        self._rebalance = self._of.rebalance_seconds.of(processor)
        for table in (self._of.retries, self._of.rebalances, self._of.notes_ignored):
            table.of.setdefault((processor,), 0)

    def settled(self, outcome: Outcome, age_seconds: float) -> None:
        self._settled[self._keys[type(outcome)]] += 1
        self._event_age.observe(age_seconds)
        if isinstance(outcome, Dead):
            key = (self._processor, outcome.reason)
            self._of.dead.of[key] = self._of.dead.of.get(key, 0) + 1

    def began(self, waited_seconds: float) -> None:
        self._queue.observe(waited_seconds)

    def circuit(self, name: str, *, opened: bool | None = None) -> None:
        """Opened, closed, or just there."""
        table = self._of.circuit_open.of
        change = {True: 1, False: -1, None: 0}[opened]
        table[name,] = table.get((name,), 0) + change

    def retried(self) -> None:
        self._of.retries.of[self._processor,] += 1

    def note_ignored(self) -> None:
        self._of.notes_ignored.of[self._processor,] += 1

    def rebalanced(self, seconds: float | None) -> None:
        self._of.rebalances.of[self._processor,] += 1
        if seconds is not None:
            self._rebalance.observe(seconds)

    def account(self, delivered: int, in_flight: int, abandoned: int) -> Account:
        return Account(delivered, self.settled_total, in_flight, abandoned)

    @property
    def settled_total(self) -> int:
        return int(sum(self._settled[key] for key in self._keys.values()))

    def show(self, account: Account, watermark_age: float, note_bytes: int) -> None:
        """The gauges, and counters kept elsewhere."""
        key = (self._processor,)
        self._of.delivered.of[key] = account.delivered
        self._of.abandoned.of[key] = account.abandoned
        self._of.in_flight.of[key] = account.in_flight
        self._of.watermark_age_seconds.of[key] = watermark_age
        self._of.note_bytes.of[key] = note_bytes

    def show_lag(self, topic: str, events: int) -> None:
        self._of.lag_events.of[self._processor, topic] = events
