"""Everything the page shows, as plain values: built from parts that others measured. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from trunkline import __version__
from trunkline.clock import rfc3339
from trunkline.console.history import History
from trunkline.console.summary import Summary
from trunkline.traffic.sender import Sent

Ends = Mapping[tuple[str, int], tuple[int, int]]  # (topic, partition) -> (first kept, next)


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What is known of the stream; `problem` if it could not be asked."""

    where: str
    ends: Ends | None = None
    size_bytes: int | None = None
    problem: str | None = None

    @property
    def stored(self) -> int | None:
        if self.ends is None:
            return None
        return sum(following - first for first, following in self.ends.values())


@dataclass(frozen=True, slots=True)
class Addresses:
    door: str
    probe: str | None


def build(
    *,
    now: float,
    started_at: float,
    problem: str | None,
    history: History,
    stream: StreamFacts,
    events: Sequence[Summary],
    events_problem: str | None,
    sent: Sent | None,
    addresses: Addresses,
) -> dict[str, object]:
    newest = history.newest
    return {
        "version": __version__,
        "now": rfc3339(now),
        "uptime_seconds": round(now - started_at),
        "ready": problem is None,
        "problem": problem,
        "door": addresses.door,
        "metrics": addresses.probe and f"{addresses.probe}/metrics",
        "totals": {
            "received": newest.received,
            **newest.verdicts,
            "duplicates": newest.duplicates,
        },
        "rates": {
            "received_per_second": round(history.per_second(), 1),
            "accepted_per_second": round(history.per_second(("accepted",)), 1),
        },
        "answer_ms": {"p50": history.quantile_ms(0.5), "p99": history.quantile_ms(0.99)},
        "accepted_series": history.series("accepted"),
        "refusals": _ranked(newest.refused),
        "quarantine": _ranked(newest.quarantined),
        "traffic": None if sent is None else sent.as_dict(),
        "events": [asdict(event) for event in events],
        "events_problem": events_problem,
        "stream": _stream(stream),
    }


def _ranked(counts: Mapping[str, int]) -> list[dict[str, object]]:
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"reason": reason, "count": count} for reason, count in ranked]


def _stream(facts: StreamFacts) -> dict[str, object]:
    topics: dict[str, dict[str, object]] = {}
    for (topic, partition), (first, following) in sorted((facts.ends or {}).items()):
        row = topics.setdefault(
            topic, {"topic": topic, "partitions": 0, "records": 0, "last_offsets": {}}
        )
        row["partitions"] = partition + 1
        records, offsets = row["records"], row["last_offsets"]
        assert isinstance(records, int)
        assert isinstance(offsets, dict)
        row["records"] = records + following - first
        if following > 0:
            offsets[str(partition)] = following - 1
    return {
        "where": facts.where,
        "size_bytes": facts.size_bytes,
        "stored": facts.stored,
        "problem": facts.problem,
        "topics": list(topics.values()),
    }
