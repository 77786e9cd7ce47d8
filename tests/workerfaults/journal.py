"""What processors under test did, event by event: written by them, a file per process, and read."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from trunkline.stream import Delivery

Line = tuple[str, int, bytes | None]
Event = tuple[str, int, int]  # topic, partition, offset

DONE, DEAD, RAISED, CANCELLED, KILLED = "done", "dead", "raised", "cancelled", "killed"


@dataclass(slots=True)
class Run:
    """One attempt at one event. Moments are of the machine's monotonic clock."""

    event: Event
    line: Line
    pid: int
    began: float
    ended: float | None = None
    how: str | None = None  # None while it runs


class Journal:
    """One write a line: whatever kills us leaves whole lines."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._pid = os.getpid()
        self._file = os.open(
            folder / f"{self._pid}-{uuid4().hex}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644
        )
        self._runs = 0

    def began(self, delivery: Delivery) -> int:
        self._runs += 1
        key = None if delivery.key is None else delivery.key.hex()
        place = delivery.topic, delivery.partition, delivery.offset
        self._write(self._runs, pid=self._pid, event=place, key=key)
        return self._runs

    def ended(self, run: int, how: str) -> None:
        self._write(run, how=how)

    def _write(self, run: int, **more: object) -> None:
        line = {"run": run, "at": time.monotonic(), **more}
        os.write(self._file, json.dumps(line).encode() + b"\n")


def read(folder: Path, deaths: Mapping[int, float]) -> list[Run]:
    """All runs in the order they began; `deaths` tells when each process that is gone went."""
    runs = [run for path in folder.iterdir() for run in _runs(path)]
    for run in runs:
        if run.ended is None and run.pid in deaths:
            run.ended, run.how = deaths[run.pid], KILLED
    return sorted(runs, key=lambda run: run.began)


def count(folder: Path) -> int:
    """How many have begun; cheaper than reading them."""
    return sum(path.read_bytes().count(b'"event"') for path in folder.iterdir())


def _runs(path: Path) -> list[Run]:
    found: dict[int, Run] = {}
    for text in path.read_bytes().split(b"\n")[:-1]:
        line = json.loads(text)
        if "how" in line:
            found[line["run"]].ended, found[line["run"]].how = line["at"], line["how"]
        else:
            topic, partition, offset = line["event"]
            key = None if line["key"] is None else bytes.fromhex(line["key"])
            event, own = (topic, partition, offset), (topic, partition, key)
            found[line["run"]] = Run(event, own, line["pid"], line["at"])
    return list(found.values())
