"""The ground all cases stand on: a broker, a key, the traffic, and one way to measure a door."""

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import uvloop

from bench import doors
from bench.doors import Door, Measured, Peer, cpu_seconds, descendants, machine_seconds
from bench.load import Crowd, Run
from bench.traffic import MIXED, Mix, Supply
from bench.unit import Unit
from tests.kafka_server import KafkaServer
from tests.load.process import ROOT
from trunkline.keys import DevelopmentKey

_WARM_UP = 1_500
_WARM_WINDOW = 32
_FOREIGN_CORES_MAX = 0.1
_PER_SECOND_MAX = 14_000  # webhooks made for a closed loop; no door here is as fast


@dataclass(frozen=True, slots=True)
class Plan:
    """A closed loop (`window` requests under way) unless there is a rate."""

    seconds: float
    connections: int = 64
    window: int | None = None
    rate: float | None = None
    mix: Mix = MIXED
    webhooks_max: int | None = None

    @property
    def count(self) -> int:
        per_second = self.rate * 1.2 + 50 if self.rate else _PER_SECOND_MAX
        most = int(per_second * self.seconds)
        return min(most, self.webhooks_max or most) + _WARM_UP


@dataclass(slots=True)
class Measurement:
    run: Run
    cpu: float  # seconds, of the door's processes
    unit: float  # seconds for one verify, mean of just before and just after
    foreign: float  # cores that neither door nor broker nor sender used: other people's work
    repeats: int  # answered 200 as already durable: such a 200 costs no append

    @property
    def cpu_us(self) -> float:
        return self.cpu / self.run.total * 1e6

    @property
    def verifies(self) -> float:
        return self.cpu / self.run.total / self.unit

    @property
    def busy(self) -> float:
        """Cores in use."""
        return self.cpu / self.run.seconds

    def others(self, expected: int = 200) -> str:
        """What should not have been answered; empty when all is well."""
        odd = {status: n for status, n in self.run.answers.items() if status != expected}
        words = [f"also answered {odd}"] if odd else []
        words += [f"{self.repeats} were no new records"] if self.repeats else []
        if self.foreign > _FOREIGN_CORES_MAX:
            words.append(f"DISTURBED: others used {self.foreign:.2f} cores")
        return "; ".join(words)


class Ground:
    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder = folder
        self.quick = quick
        self.key = DevelopmentKey()
        self.supply = Supply(self.key)
        self.unit = Unit(self.key, list(self.supply.of(MIXED, 400)))
        self.kafka = KafkaServer(folder / "kafka", heap_mb=512)
        self._names = count()

    @property
    def seconds(self) -> float:
        return 1.5 if self.quick else 4.0

    @property
    def settings(self) -> dict[str, str]:
        return {
            "TELNYX_PUBLIC_KEY": self.key.public.text,
            "TRUNKLINE_TOPICS_REPLICAS": "1",
            "TRUNKLINE_TOPICS_IN_SYNC_REPLICAS_MIN": "1",
        }

    def create_topics(self) -> None:
        subprocess.run(
            [sys.executable, "-m", "trunkline", "topics", "apply"],
            env={"PYTHONPATH": str(ROOT), "TRUNKLINE_STREAM": self.kafka.url, **self.settings},
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )

    def new_folder(self) -> Path:
        """Every door gets its own: also a fresh file for an embedded stream."""
        return self.folder / f"door-{next(self._names)}"

    def on_kafka(self, *, workers: int = 1) -> AbstractContextManager[Door]:
        return doors.door(self.new_folder(), self.kafka.url, self.settings, workers=workers)

    def embedded(self) -> AbstractContextManager[Door]:
        folder = self.new_folder()
        return doors.door(folder, f"sqlite:///{folder}/stream.db", self.settings)

    def peer(self) -> AbstractContextManager[Peer]:
        return doors.peer(self.kafka.bootstrap, self.key.public.text, self.folder / "peer.log")

    def measure(self, door: Measured, plan: Plan) -> Measurement:
        """One door, one plan, once: a second time it would have seen these webhooks already."""
        return self.measure_with(door, plan, self.supply.of(plan.mix, plan.count))

    def measure_with(self, door: Measured, plan: Plan, wires: Iterator[bytes]) -> Measurement:
        gc.collect()
        gc.disable()  # the sender's pauses must not be the door's latency
        try:
            before = self.unit.measure()
            run, cpu, foreign = uvloop.run(_drive(door, plan, wires))
            unit = (before + self.unit.measure()) / 2
            return Measurement(run, cpu, unit, foreign, _repeats(door))
        finally:
            gc.enable()


def _repeats(door: Measured) -> int:
    if not isinstance(door, Door):
        return 0
    return int(door.process.metrics()["trunkline_ingest_duplicates_total"])


async def _drive(door: Measured, plan: Plan, wires: Iterator[bytes]) -> tuple[Run, float, float]:
    crowd = Crowd(door.port, plan.connections)
    await crowd.connect()
    await crowd.closed(islice(wires, _WARM_UP), _WARM_WINDOW, plan.seconds)
    await asyncio.sleep(0.1)
    ours = descendants(os.getpid())
    began, before, mine = machine_seconds(), cpu_seconds(door.pids), cpu_seconds(ours)
    if plan.rate:
        run = await crowd.scheduled(wires, plan.rate, plan.seconds)
    else:
        run = await crowd.closed(wires, plan.window or plan.connections, plan.seconds)
    cpu = cpu_seconds(door.pids) - before
    foreign = machine_seconds() - began - (cpu_seconds(ours) - mine)
    await crowd.close()
    return run, cpu, foreign / run.seconds
