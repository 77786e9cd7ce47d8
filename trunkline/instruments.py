"""The kinds of metric: plain numbers that the Prometheus library reads when somebody scrapes.

Counting happens several times per webhook, and the library's own counters cost ten times as much.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)


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

    def buckets(self) -> list[tuple[str, float]]:
        found, below = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            found.append(("+Inf" if bound == float("inf") else str(float(bound)), float(below)))
        return found

    def family(self) -> Metric:
        # The format has no sum for a histogram with negative bounds: it would not only grow.
        total = None if self.bounds[0] < 0 else self.sum
        return HistogramMetricFamily(*self._described, buckets=self.buckets(), sum_value=total)


class Table:
    """A counter or gauge for each combination of labels: `table.of["calls", "done"] += 1`."""

    def __init__(
        self,
        kind: type[CounterMetricFamily | GaugeMetricFamily],
        name: str,
        meaning: str,
        *labels: str,
    ) -> None:
        self.of: dict[tuple[str, ...], float] = {}
        self._kind = kind
        self._described = (name, meaning)
        self._labels = labels

    def family(self) -> Metric:
        family = self._kind(*self._described, labels=self._labels)
        for values, value in self.of.items():
            family.add_metric(values, value)
        return family


class Spreads:
    """A histogram for each value of one label, made when it is first asked for."""

    def __init__(self, name: str, meaning: str, label: str, bounds: Sequence[float]) -> None:
        self._of: dict[str, Spread] = {}
        self._described = (name, meaning)
        self._label = label
        self._bounds = bounds

    def of(self, value: str) -> Spread:
        return self._of.setdefault(value, Spread(*self._described, self._bounds))

    def family(self) -> Metric:
        family = HistogramMetricFamily(*self._described, labels=[self._label])
        for value, spread in self._of.items():
            family.add_metric([value], spread.buckets(), sum_value=spread.sum)
        return family
