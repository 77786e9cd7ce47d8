"""Every metric, with its meaning and its closed set of labels; a dashboard may name only these."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client import generate_latest as render
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from trunkline.instruments import Count, Counts, Level, Spread, Spreads, Table

VERDICTS = ("accepted", "quarantined", "refused", "unavailable", "gone")
OUTCOMES = ("done", "skipped", "stale", "deferred", "dead")

_ANSWER_SECONDS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
_EVENT_AGE_SECONDS = (
    0.005, 0.01, 0.02, 0.04, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600, 86_400,
)  # fmt: skip
_QUEUE_SECONDS = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 300)
_REBALANCE_SECONDS = (0.1, 0.5, 1, 2, 3, 5, 8, 10, 15, 30, 60)
_SKEW_SECONDS = (-300, -60, -5, -1, 0, 1, 2, 5, 10, 30, 60, 300)


class ProcessorMetrics:
    """Of the worker, by processor. Delivered = the settled + in flight + abandoned, at any time."""

    def __init__(self) -> None:
        counter, gauge = CounterMetricFamily, GaugeMetricFamily
        self.settled = Table(
            counter,
            "trunkline_settled",
            "Events that came to their end, by outcome.",
            "processor",
            "outcome",
        )
        self.delivered = Table(
            counter, "trunkline_delivered", "Events taken in from the stream.", "processor"
        )
        self.abandoned = Table(
            counter,
            "trunkline_abandoned",
            "Events taken in and let go of unsettled, with their partition; they come again.",
            "processor",
        )
        self.in_flight = Table(
            gauge, "trunkline_in_flight", "Events taken in and not settled yet.", "processor"
        )
        self.dead = Table(
            counter, "trunkline_dead", "Dead letters posted, by reason.", "processor", "reason"
        )
        self.circuit_open = Table(
            gauge,
            "trunkline_circuit_open",
            "Workers of this process that wait because this circuit is open.",
            "circuit",
        )
        self.retries = Table(
            counter, "trunkline_retries", "Attempts that are made once more.", "processor"
        )
        self.rebalances = Table(
            counter, "trunkline_rebalances", "Times that partitions were assigned.", "processor"
        )
        self.rebalance_seconds = Spreads(
            "trunkline_rebalance_seconds",
            "From having to let go of partitions to having some again.",
            "processor",
            _REBALANCE_SECONDS,
        )
        self.event_age_seconds = Spreads(
            "trunkline_event_age_seconds",
            "From a webhook's arrival to the end of its event.",
            "processor",
            _EVENT_AGE_SECONDS,
        )
        self.queue_seconds = Spreads(
            "trunkline_queue_seconds",
            "From being taken in to being run for the first time.",
            "processor",
            _QUEUE_SECONDS,
        )
        self.lag_events = Table(
            gauge,
            "trunkline_lag_events",
            "From the mark to the end of the stream, in partitions of this process.",
            "processor",
            "topic",
        )
        self.watermark_age_seconds = Table(
            gauge,
            "trunkline_watermark_age_seconds",
            "Age of the oldest event taken in and not settled.",
            "processor",
        )
        self.note_bytes = Table(
            gauge, "trunkline_note_bytes", "The longest note of a mark, of 3072.", "processor"
        )
        self.notes_ignored = Table(
            counter,
            "trunkline_notes_ignored",
            "Notes that could not be used: what they called settled is done again.",
            "processor",
        )


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

        self.processors = ProcessorMetrics()

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
        for metric in (*vars(self).values(), *vars(self.processors).values()):
            if isinstance(metric, Counts | Count | Level | Spread | Table | Spreads):
                yield metric.family()

    def exposition(self) -> bytes:
        """Everything as Prometheus reads it."""
        return render(self._registry)
