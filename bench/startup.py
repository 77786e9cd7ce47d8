"""How long a door takes to be ready, and how much memory it holds, against what it must import."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from statistics import median

from bench.doors import Door, rss_bytes
from bench.ground import Ground, Plan
from bench.table import Row, at_most

CASE = "Start and memory"
_READY_SECONDS_MAX = 1.2
_RSS_MIB_MAX = 90
_WEBHOOKS = 20_000
_MIB = 1024 * 1024


def cost(ground: Ground) -> Iterable[Row]:
    times = 1 if ground.quick else 3
    imported = "import aiokafka"
    resident = f"{_resident_mib(imported):.0f} MiB"
    yield Row(CASE, f"python -c '{imported}'", _seconds(times, "-c", imported), "s", resident)
    yield Row(CASE, "trunkline --help", _seconds(times, "-m", "trunkline", "--help"), "s")
    yield from _door(ground, "on Kafka", ground.on_kafka, times)
    yield from _door(ground, "embedded", ground.embedded, times)


def _door(
    ground: Ground, name: str, start: Callable[[], AbstractContextManager[Door]], times: int
) -> Iterable[Row]:
    seconds, idle, after = [], 0.0, 0.0
    for _ in range(times):
        began = time.monotonic()
        with start() as door:
            seconds.append(time.monotonic() - began)
            idle = rss_bytes(door.pids) / _MIB
            if len(seconds) == times:
                ground.measure(door, Plan(10.0, webhooks_max=_WEBHOOKS))
                after = rss_bytes(door.pids) / _MIB
    value = median(seconds)
    beside = f"{min(seconds):.2f} to {max(seconds):.2f}; looked at every 20 ms"
    target, met = at_most(_READY_SECONDS_MAX, value, "s")
    yield Row(CASE, f"door {name}, from exec to /readyz", value, "s", beside, target, met)
    target, met = at_most(_RSS_MIB_MAX, idle, "MiB")
    yield Row(CASE, f"door {name}, resident when ready", idle, "MiB", "", target, met)
    target, met = at_most(_RSS_MIB_MAX, after, "MiB")
    beside = "it remembers the ids of the last 50,000"
    what = f"door {name}, resident after {_WEBHOOKS:,} webhooks"
    yield Row(CASE, what, after, "MiB", beside, target, met)


def _seconds(times: int, *arguments: str) -> float:
    return median(_once([sys.executable, *arguments]) for _ in range(times))


def _once(command: Sequence[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def _resident_mib(code: str) -> float:
    """Asked of the child itself: wait4's maxrss also counts what it held of ours before exec."""
    code += "; print(open('/proc/self/statm').read().split()[1])"
    text = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    return int(text) * os.sysconf("SC_PAGE_SIZE") / _MIB
