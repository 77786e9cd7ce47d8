"""Every metric, with its meaning and its closed set of labels; a dashboard may name only these.

Counting happens several times per webhook, so counts are plain integers that the Prometheus
library reads when somebody scrapes: its own counters cost ten times as much per event.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client import generate_latest as render
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

VERDICTS = ("accepted", "quarantined", "refused", "unavailable", "gone")

_ANSWER_SECONDS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
_SKEW_SECONDS = (-300, -60, -5, -1, 0, 1, 2, 5, 10, 30, 60, 300)


class Counts:
    """A counter for each value of one label: `counts.of["refused"] += 1`."""

    def __init__(self, name: str, meaning: str, label: str, values: Iterable[str] = ()) -> None:
        self.of = dict.fromkeys(values, 0)
        self._described = (name, meaning, label)

    def total(self) -> int:
        return sum(self.of.values())

    def family(self) -> Metric:
        name, meaning, label = self._described
        family = CounterMetricFamily(name, meaning, labels=[label])
        for value, count in self.of.items():
            family.add_metric([value], count)
        return family


class Count:
    """A counter without labels."""

    def __init__(self, name: str, meaning: str) -> None:
        self.value = 0
        self._described = (name, meaning)

    def family(self) -> Metric:
        return CounterMetricFamily(*self._described, value=self.value)


class Level:
    """A gauge: set by whoever knows, at the latest before a scrape."""

    def __init__(self, name: str, meaning: str) -> None:
        self.value: float = 0
        self._described = (name, meaning)

    def family(self) -> Metric:
        return GaugeMetricFamily(*self._described, value=self.value)


class Spread:
    """A histogram."""

    def __init__(self, name: str, meaning: str, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self._described = (name, meaning)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def family(self) -> Metric:
        buckets, below = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), below))
        # The format has no sum for a histogram with negative bounds: it would not only grow.
        total = None if self.bounds[0] < 0 else self.sum
        return HistogramMetricFamily(*self._described, buckets=buckets, sum_value=total)


class Metrics:
    """One object per process, handed to whoever counts; there is no global registry to reset."""

    def __init__(self) -> None:
        # The door. Each request ends in exactly one verdict: received is the sum of the five.
        self.ingest_requests = Counts(
            "trunkline_ingest_requests",
            "Requests by verdict; gone: the client left before its answer.",
            "verdict",
            VERDICTS,
        )
        self.ingest_refused = Counts(
            "trunkline_ingest_refused", "Refused requests by reason.", "reason"
        )
        self.ingest_quarantined = Counts(
            "trunkline_ingest_quarantined",
            "Authentic webhooks that cannot be read, by reason.",
            "reason",
        )
        self.ingest_seconds = Spread(
            "trunkline_ingest_seconds",
            "From a request's last byte to its answer.",
            _ANSWER_SECONDS,
        )
        self.ingest_duplicates = Count(
            "trunkline_ingest_duplicates",
            "Webhooks answered 200 without a second copy: this process had made the first durable.",
        )
        self.ingest_connections = Level("trunkline_ingest_connections", "Open connections.")
        self.ingest_evicted = Count(
            "trunkline_ingest_evicted_connections",
            "Connections closed to make room for others.",
        )
        self.ingest_held_bytes = Level(
            "trunkline_ingest_held_bytes",
            "Bytes of bodies being received or waiting for the stream.",
        )
        self.signature_skew_seconds = Spread(
            "trunkline_signature_skew_seconds",
            "Our clock minus the signed timestamp of authentic webhooks.",
            _SKEW_SECONDS,
        )
        self.clock_suspect = Level(
            "trunkline_clock_suspect",
            "1 while every signed timestamp of the last seconds is further away than allowed.",
        )
        self.key_used = Counts(
            "trunkline_key_used",
            "Webhooks proven, by the first characters of the public key.",
            "key",
        )
        self.key_files_bad = Level(
            "trunkline_key_files_bad",
            "Key files whose newest content cannot be used; their last good keys stay in force.",
        )

        # The process.
        self.ready = Level("trunkline_ready", "1 while /readyz says yes.")
        self.loop_lag = Level(
            "trunkline_loop_lag_seconds", "How late the event loop ran its last beat."
        )
        self.log_dropped = Level(
            "trunkline_log_dropped",
            "Log lines dropped because nobody read them fast enough.",
        )

        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._registry.register(self)

    def collect(self) -> Iterator[Metric]:
        for metric in vars(self).values():
            if isinstance(metric, Counts | Count | Level | Spread):
                yield metric.family()

    def exposition(self) -> bytes:
        """Everything as Prometheus reads it."""
        return render(self._registry)
