"""Counts what the door does: each request once, under one verdict."""

from ingest.answers import FAULTS
from ingest.gate import REFUSALS
from ingest.reading import REASONS
from trunkline.metrics import Metrics


class Tally:
    def __init__(self, metrics: Metrics) -> None:
        self._verdicts = metrics.ingest_requests.of
        self._reasons = metrics.ingest_refused.of
        self._unreadable = metrics.ingest_quarantined.of
        self._keys = metrics.key_used.of
        self._seconds = metrics.ingest_seconds
        self._skew = metrics.signature_skew_seconds
        self._duplicates = metrics.ingest_duplicates
        self._evicted = metrics.ingest_evicted
        # Every reason is there from the start: a rate over a series that appears is no rate.
        self._reasons.update(dict.fromkeys((*FAULTS, *REFUSALS), 0))
        self._unreadable.update(dict.fromkeys(REASONS, 0))
        self.skew_least: float | None = None  # the smallest seen since it was last taken

    def proven(self, key: str, skew_seconds: float) -> None:
        self._keys[key] = self._keys.get(key, 0) + 1
        self._skew.observe(skew_seconds)
        self.skewed(skew_seconds)

    def skewed(self, skew_seconds: float) -> None:
        if self.skew_least is None or abs(skew_seconds) < abs(self.skew_least):
            self.skew_least = skew_seconds

    def admitted(self, seconds: float, unreadable: str | None) -> None:
        self._seconds.observe(seconds)
        if unreadable is None:
            self._verdicts["accepted"] += 1
        else:
            self._verdicts["quarantined"] += 1
            self._unreadable[unreadable] += 1

    def unavailable(self, seconds: float) -> None:
        self._seconds.observe(seconds)
        self._verdicts["unavailable"] += 1

    def refused(self, reason: str) -> None:
        self._verdicts["refused"] += 1
        self._reasons[reason] += 1

    def gone(self) -> None:
        self._verdicts["gone"] += 1

    def duplicate(self) -> None:
        self._duplicates.value += 1

    def evicted(self) -> None:
        self._evicted.value += 1
