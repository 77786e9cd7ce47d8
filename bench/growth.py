"""What happens to speed and cost when one thing grows: workers, keys, bodies, connections."""

from collections.abc import Iterable
from dataclasses import replace

from bench.ground import Ground, Plan
from bench.table import Row
from bench.traffic import MIXED

CASE = "Growth, on Kafka, closed loop"
_WINDOW = 64
_BYTES_MAX = 400_000_000  # made beforehand for one measurement


def growth(ground: Ground) -> Iterable[Row]:
    plan = Plan(ground.seconds * 0.75)
    for workers in (1, 2):
        yield _row(
            ground, f"workers: {workers} (two cores shared with sender and broker)", plan, workers
        )
    for keys in (10, 100_000):
        yield _row(ground, f"{keys:,} record keys", replace(plan, mix=replace(MIXED, keys=keys)))
    for size in (1_000, 10_000, 100_000):
        mix = replace(MIXED, body_bytes=size)
        most = _BYTES_MAX // size
        name = f"bodies of {size // 1000} KB"
        yield _row(ground, name, replace(plan, mix=mix, webhooks_max=most))
    for connections in (1, 64, 1_000, 4_000):
        name = f"{connections:,} connections, {min(connections, _WINDOW)} requests at a time"
        yield _row(ground, name, replace(plan, connections=connections, window=_WINDOW))


def _row(ground: Ground, name: str, plan: Plan, workers: int = 1) -> Row:
    with ground.on_kafka(workers=workers) as door:
        found = ground.measure(door, plan)
    run = found.run
    beside = (
        f"CPU {found.cpu_us:.1f} us, {found.busy:.2f} cores, p50 {run.quantile(0.5) * 1e3:.1f} ms"
    )
    beside += f", p99 {run.quantile(0.99) * 1e3:.1f} ms"
    if odd := found.others():
        beside += f"; {odd}"
    return Row(CASE, name, run.per_second(), "accepted/s", beside)
