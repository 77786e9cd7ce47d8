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
    seconds, peak = _command(times, "-c", "import aiokafka")
    yield Row(CASE, "python -c 'import aiokafka'", seconds, "s", f"{peak:.0f} MiB")
    seconds, peak = _command(times, "-m", "trunkline", "--help")
    yield Row(CASE, "trunkline --help", seconds, "s", f"{peak:.0f} MiB")
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


def _command(times: int, *arguments: str) -> tuple[float, float]:
    """Seconds, and the most memory it held in MiB."""
    runs = [_once([sys.executable, *arguments]) for _ in range(times)]
    return median(run[0] for run in runs), max(run[1] for run in runs)


def _once(command: Sequence[str]) -> tuple[float, float]:
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    # Waited for behind its back, to learn its memory: let Popen know.
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.monotonic() - began, usage.ru_maxrss / 1024
