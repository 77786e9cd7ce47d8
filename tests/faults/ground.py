"""Where a fault is tried: a stream, real doors on it, honest traffic, and the judge at the end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.faults.report import report
from tests.load.checker import Summary, check, check_metrics
from tests.load.dump import dump_of
from tests.load.process import HOST, DoorProcess
from tests.load.sender import Sender, Sent
from tests.load.webhooks import Mix, Pool, Shot
from trunkline.keys import DevelopmentKey

MIXED = Mix(forged=0.1, unreadable=0.03, duplicates=0.03, sessions=40)
ANSWER_SECONDS = 5.0  # a client's own patience; the door's bound is a fifth of it


class Ground:
    def __init__(
        self, folder: Path, stream: str, settings: Mapping[str, str] | None = None, prefix: str = ""
    ) -> None:
        self.folder = folder
        self.key = DevelopmentKey()
        self.keys = {self.key.public.text: self.key.public}
        self.stream = stream
        self.prefix = prefix
        self._settings = {
            "TELNYX_PUBLIC_KEY": self.key.public.text,
            "TRUNKLINE_TOPICS_PARTITIONS": "3",
            "TRUNKLINE_TOPICS_REPLICAS": "1",
            "TRUNKLINE_TOPICS_IN_SYNC_REPLICAS_MIN": "1",
            "TRUNKLINE_TOPICS_PREFIX": prefix,
            "TRUNKLINE_INGEST_DRAIN_DELAY_SECONDS": "1",
            **(settings or {}),
        }
        self._pools = 0

    def door(
        self,
        settings: Mapping[str, str] | None = None,
        arguments: Sequence[str] = ("-m", "trunkline", "ingest"),
    ) -> DoorProcess:
        own = {**self._settings, **(settings or {})}
        return DoorProcess(self.folder, self.stream, own, arguments=arguments)

    def endless(self, mix: Mix = MIXED) -> Iterator[Shot]:
        self._pools += 1
        return Pool(self.key, time.time(), mix, seed=self._pools).endless(time.time)

    def shots(self, count: int, mix: Mix = MIXED, key: DevelopmentKey | None = None) -> list[Shot]:
        self._pools += 1  # a seed of its own, so that no two pools make the same ids
        return Pool(key or self.key, time.time(), mix, seed=self._pools).take(count)

    async def judge(
        self,
        name: str,
        log: Sequence[Sent],
        door: DoorProcess,
        metrics: Mapping[str, float] | None = None,
        *,
        refusals_due: bool = False,
    ) -> Summary:
        """Reads the stream, reports, and fails on anything that does not fit together."""
        deliveries = await dump_of(door.environment, self.folder)
        summary = check(
            log,
            deliveries,
            self.keys,
            quarantine=f"{self.prefix}telnyx.quarantine",
            refusals_due=refusals_due,
        )
        problems = summary.violations + (check_metrics(log, metrics) if metrics else [])
        # The door answers for itself here, not for a sender that has run out of connections.
        slowest = max((sent.ended - sent.began for sent in log if sent.status), default=0.0)
        report(f"{name}: {summary}; slowest answer {slowest:.2f} s")
        assert problems == [], f"{problems}\n{door.log[-3000:]}"
        return summary


@contextlib.asynccontextmanager
async def traffic(
    door: DoorProcess, shots: Iterable[Shot], rate: float, connections: int = 32
) -> AsyncIterator[Sender]:
    """Honest senders at work while the block does its worst; leaving stops and awaits them."""
    sender = Sender(HOST, door.port, connections=connections, timeout_seconds=ANSWER_SECONDS)
    await sender.connect()
    running = asyncio.create_task(sender.run(shots, rate))
    try:
        yield sender
        sender.stop()
        await running
    finally:
        running.cancel()
        await sender.close()


async def until(holds: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Poll, in a thread, since asking a process blocks."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        await asyncio.sleep(0.05)


async def answered(sender: Sender, status: int, count: int, seconds: float = 20.0) -> None:
    """Until so many more have been answered so, from now on."""
    start = len(sender.log)
    await until(
        lambda: sum(1 for sent in sender.log[start:] if sent.status == status) >= count,
        f"{count} answers {status}",
        seconds,
    )
