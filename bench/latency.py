"""How long an answer takes at fixed rates, counted from the moment each webhook was due."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from statistics import median

from bench.doors import Measured
from bench.ground import Ground, Plan
from bench.table import Row

CASE = "Latency at fixed rates (open loop, random gaps, from the scheduled moment)"
_RATES = (100, 1_000, 3_000)
_PEER_RATES = (100, 500)
_QUANTILES = (0.9, 0.99, 0.999)


def distribution(ground: Ground) -> Iterable[Row]:
    for rate in _RATES:
        yield _at(ground, "door on Kafka", ground.on_kafka, rate)
        yield _at(ground, "door embedded", ground.embedded, rate)
    for rate in _PEER_RATES:
        yield _at(ground, "FastAPI + SDK + aiokafka", ground.peer, rate)


def _at(
    ground: Ground, name: str, start: Callable[[], AbstractContextManager[Measured]], rate: float
) -> Row:
    seconds = ground.seconds * (2 if rate <= _RATES[0] else 1.25)
    with start() as door:
        found = ground.measure(door, Plan(seconds, rate=rate))
    run = found.run
    tail = [f"p{share * 100:g} {run.quantile(share) * 1e3:.1f}" for share in _QUANTILES]
    tail += [f"max {run.quantile(1) * 1e3:.1f}"]
    beside = f"{', '.join(tail)}; CPU {found.cpu_us:.0f} us"
    beside += f"; sender late by {median(run.lateness) * 1e3:.1f}"
    odd = found.others()
    return Row(
        CASE,
        f"{name}, {rate:,}/s, p50",
        run.quantile(0.5) * 1e3,
        "ms",
        f"{beside}; {odd}" if odd else beside,
    )
