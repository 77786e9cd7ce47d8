"""How much of a core one webhook costs: ours, ours on one machine, and the peer, taking turns."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median

from bench.doors import Measured
from bench.ground import Ground, Measurement, Plan
from bench.table import Row, at_least, at_most
from bench.traffic import CALLS

CASE = "As fast as it goes (closed loop), side by side"
_SYNCS = 200
_VERIFIES_MAX = 1.6
_PEER_RATIO_MIN = 8
_EMBEDDED_RATIO_MIN = 1

Start = Callable[[], AbstractContextManager[Measured]]


def unit(ground: Ground) -> Iterable[Row]:
    seen = [ground.unit.measure() for _ in range(3 if ground.quick else 10)]
    spread = f"{min(seen) * 1e6:.1f} to {max(seen) * 1e6:.1f}"
    yield Row("The units", "one Ed25519 verify by libsodium", median(seen) * 1e6, "us", spread)
    synced = sorted(_sync(ground.folder / "synced"))
    beside = f"p99 {synced[int(len(synced) * 0.99)] * 1e3:.2f}"
    yield Row("The units", "one fsync after 4 KB", median(synced) * 1e3, "ms", beside)


def _sync(path: Path) -> Iterable[float]:
    """What the embedded stream waits for; an ideal disk here would flatter it."""
    with path.open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(bytes(4096))
            began = time.monotonic()
            os.fsync(file.fileno())
            yield time.monotonic() - began


def side_by_side(ground: Ground) -> Iterable[Row]:
    """In rounds, so that what else the machine does falls on all of them alike."""
    plan = Plan(ground.seconds)
    wide = Plan(ground.seconds, connections=256)
    entrants: dict[str, tuple[Start, Plan]] = {
        "door on Kafka, 64 connections": (ground.on_kafka, plan),
        "door on Kafka, 256 connections": (ground.on_kafka, wide),
        "door on Kafka, calls only, 256 connections": (
            ground.on_kafka,
            Plan(ground.seconds, connections=256, mix=CALLS),
        ),
        "door embedded (SQLite, fsync), 64 connections": (ground.embedded, plan),
        "door embedded, 256 connections": (ground.embedded, wide),
        "FastAPI + SDK + aiokafka, 64 connections": (ground.peer, plan),
    }
    found: dict[str, list[Measurement]] = {name: [] for name in entrants}
    for _ in range(1 if ground.quick else 3):
        for name, (start, how) in entrants.items():
            with start() as door:
                found[name].append(ground.measure(door, how))
    kafka, kafka_wide, calls, embedded, embedded_wide, peer = entrants
    for name in entrants:
        yield _speed(name, found[name])
    for name in (kafka, kafka_wide, calls):
        yield _cost(name, found[name], _VERIFIES_MAX)
    for name in (embedded, embedded_wide, peer):
        yield _cost(name, found[name], None)
    yield _ratio("accepted/s, door on Kafka : peer", found[kafka], found[peer], _PEER_RATIO_MIN)
    for one, other in ((embedded, kafka), (embedded_wide, kafka_wide)):
        what = f"accepted/s, embedded : Kafka,{one.rpartition(',')[2]}"
        yield _ratio(what, found[one], found[other], _EMBEDDED_RATIO_MIN)


def _speed(name: str, found: Sequence[Measurement]) -> Row:
    speeds = [one.run.per_second() for one in found]
    beside = f"{min(speeds):,.0f} to {max(speeds):,.0f}, {found[0].busy:.2f} cores"
    odd = " / ".join(one.others() for one in found if one.others())
    return Row(CASE, name, median(speeds), "accepted/s", ", ".join(filter(None, (beside, odd))))


def _cost(name: str, found: Sequence[Measurement], limit: float | None) -> Row:
    value = median(one.verifies for one in found)
    costs = sorted(one.cpu_us for one in found)
    units = median(one.unit for one in found) * 1e6
    beside = f"{median(costs):.1f} us ({costs[0]:.1f} to {costs[-1]:.1f}); a verify {units:.1f} us"
    target, met = at_most(limit, value, "verifies") if limit else ("", None)
    return Row(CASE, f"CPU, {name}", value, "verifies", beside, target, met)


def _ratio(
    what: str, ours: Sequence[Measurement], theirs: Sequence[Measurement], limit: float
) -> Row:
    # Round by round: the two halves of each ratio ran within seconds of each other.
    ratios = [a.run.per_second() / b.run.per_second() for a, b in zip(ours, theirs, strict=True)]
    value = median(ratios)
    target, met = at_least(limit, value, "x")
    cpu = median(b.verifies / a.verifies for a, b in zip(ours, theirs, strict=True))
    beside = f"{min(ratios):.2f} to {max(ratios):.2f}; CPU per webhook 1 : {cpu:.2f}"
    return Row(CASE, what, value, "x", beside, target, met)
