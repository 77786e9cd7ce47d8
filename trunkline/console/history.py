"""The door's counters at a moment, and what follows from two of them. Pure."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from trunkline.metrics import VERDICTS, Metrics

HISTORY_SECONDS = 300
_RATE_SECONDS = 10
_LEAST_SECONDS = 0.001

Buckets = tuple[tuple[float, int], ...]  # (upper bound in seconds, how many in this bucket)


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    verdicts: Mapping[str, int]
    refused: Mapping[str, int] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0
    answers: Buckets = ()

    @property
    def received(self) -> int:
        return sum(self.verdicts.values())


def sample(metrics: Metrics, at: float) -> Sample:
    spread = metrics.ingest_seconds
    return Sample(
        at=at,
        verdicts=dict(metrics.ingest_requests.of),
        refused=_happened(metrics.ingest_refused.of),
        quarantined=_happened(metrics.ingest_quarantined.of),
        duplicates=metrics.ingest_duplicates.value,
        answers=tuple(zip((*spread.bounds, math.inf), spread.counts, strict=True)),
    )


def _happened(counts: Mapping[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}


class History:
    """Some minutes of samples, about one a second, oldest first."""

    def __init__(self, first: Sample) -> None:
        self._samples = deque([first], maxlen=HISTORY_SECONDS + 1)

    def add(self, sample: Sample) -> None:
        self._samples.append(sample)

    @property
    def newest(self) -> Sample:
        return self._samples[-1]

    def per_second(self, verdicts: Sequence[str] = VERDICTS, seconds: int = _RATE_SECONDS) -> float:
        before, after = self._ends(seconds)
        count = sum(after.verdicts[name] - before.verdicts[name] for name in verdicts)
        return count / max(after.at - before.at, _LEAST_SECONDS)

    def quantile_ms(self, part: float) -> float | None:
        before, after = self._ends(_RATE_SECONDS)
        earlier = dict(before.answers)
        seconds = quantile(
            tuple((bound, count - earlier.get(bound, 0)) for bound, count in after.answers), part
        )
        return None if seconds is None else round(seconds * 1000, 2)

    def series(self, verdict: str) -> list[float]:
        """That verdict a second, for each second there is."""
        return [
            round(
                (after.verdicts[verdict] - before.verdicts[verdict])
                / max(after.at - before.at, _LEAST_SECONDS),
                1,
            )
            for before, after in pairwise(self._samples)
        ]

    def _ends(self, seconds: int) -> tuple[Sample, Sample]:
        index = max(0, len(self._samples) - 1 - seconds)
        return self._samples[index], self._samples[-1]


def quantile(buckets: Buckets, part: float) -> float | None:
    """Where the given part of all observations lies, as Prometheus estimates it.

    A straight line within a bucket; what is beyond the last bound counts as that bound.
    """
    total = sum(count for _, count in buckets)
    if total <= 0:
        return None
    left = part * total
    low = 0.0
    for bound, count in buckets:
        if count and count >= left:
            return low if math.isinf(bound) else low + (bound - low) * left / count
        left -= count
        low = bound
    return low
