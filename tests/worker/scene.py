"""Workers on one memory stream, and an eye on what they must never do.

At every commit: nothing is called settled that is not (I1), no mark goes back (I2). At every
event: one run a line at a time, in order (I4). At any time: the account balances, and what waits
and runs is what the trackers hold (P5, I14).
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.worker.virtual import EPOCH, VirtualClock
from trunkline.metrics import Metrics
from trunkline.outcome import Dead, Done, Outcome, Retry
from trunkline.settings import WorkerSection
from trunkline.stream import Delivery, Headers, Mark, Place, TopicSpec, note
from trunkline.stream.memory import MemoryStream
from trunkline.worker import letters
from trunkline.worker.letters import Letter
from trunkline.worker.processor import Line
from trunkline.worker.worker import Worker

TOPIC, DEAD = "calls", "dead"
GROUP = "reactions"
PATIENCE_SECONDS = 3_600.0  # of virtual time
Act = Callable[[Delivery], Awaitable[Outcome]]


def spec(name: str, partitions: int) -> TopicSpec:
    return TopicSpec(name, partitions, 1, 1, 10**13, compacted=False, record_bytes_max=2_097_152)


class Marks(dict[tuple[str, Place], Mark]):
    """What the group committed; refuses, loudly, what must not be."""

    def __init__(self, scene: "Scene") -> None:
        super().__init__()
        self._scene = scene
        self.problems: list[str] = []
        self.commits = 0

    def __setitem__(self, key: tuple[str, Place], mark: Mark) -> None:
        place = key[1]
        before = self.get(key)
        if before is not None and mark.next_offset < before.next_offset:
            self.problems.append(f"{place} went back from {before} to {mark}")
        claimed = settled_by(mark) & self._scene.offsets(place)
        unsettled = claimed - self._scene.settled(place)
        if unsettled:
            self.problems.append(f"{place}: {unsettled} are not settled")
        self.commits += 1
        super().__setitem__(key, mark)


def settled_by(mark: Mark) -> set[int]:
    stuck, end = note.decode(mark.note, mark.next_offset)
    return set(range(end)) - {offset for run in stuck for offset in range(*run)}


@dataclass(slots=True, eq=False)
class Attempt:
    member: str
    delivery: Delivery
    begun_at: float
    ended_at: float | None = None


@dataclass(eq=False)
class Scripted:
    """A processor that does what the test says, and remembers what it was given."""

    scene: "Scene"
    member: str
    act: Act
    name: str = GROUP
    topics: Sequence[str] = (TOPIC,)
    defers: bool = False
    running: set[Line] = field(default_factory=set)

    def line(self, delivery: Delivery) -> Line:
        return delivery.topic, delivery.partition, delivery.key or b""

    def take(self, waiting: Sequence[Delivery], now: float) -> int | float:
        del now
        assert waiting
        return 1

    def circuit(self, delivery: Delivery) -> str | None:
        del delivery
        return None

    async def handle(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        line = self.line(deliveries[0])
        assert line not in self.running, "one run a line at a time"
        self.running.add(line)
        try:
            return [await self._one(delivery) for delivery in deliveries]
        finally:
            self.running.discard(line)

    async def _one(self, delivery: Delivery) -> Outcome:
        loop = asyncio.get_running_loop()
        attempt = Attempt(self.member, delivery, loop.time())
        self.scene.attempts.append(attempt)
        outcome = await self.act(delivery)
        attempt.ended_at = loop.time()
        if not isinstance(outcome, Retry | Dead):
            self.scene.ended[delivery.topic, delivery.partition].add(delivery.offset)
        return outcome


@dataclass(eq=False)
class Member:
    name: str
    worker: Worker
    processor: Scripted
    metrics: Metrics
    stop: asyncio.Event
    task: "asyncio.Task[None]"

    def recount(self) -> None:
        account = self.worker.account
        assert account.balanced, account
        runs = self.worker._runs.running
        for holding in self.worker._holdings.places.values():
            unsettled = set(holding.tracker.unsettled.values())
            waiting = {it for queue in holding.lane.queues.values() for it in queue.waiting}
            running = {it for run in runs if run.queue.lane is holding.lane for it in run.works}
            assert waiting <= unsettled <= waiting | running


class Scene:
    def __init__(self, partitions: int = 1, **limits: Any) -> None:
        self.stream = MemoryStream([spec(TOPIC, partitions), spec(DEAD, 1)])
        self.storage = self.stream.storage
        self.marks = Marks(self)
        self.storage.marks = self.marks
        self.attempts: list[Attempt] = []
        self.ended: dict[Place, set[int]] = defaultdict(set)
        self.members: list[Member] = []
        self.limits = limits
        self.batches: list[list[int]] = []  # of processors that take several at a time

    def start(
        self, act: Act, *, name: str | None = None, kind: type[Scripted] = Scripted, **limits: Any
    ) -> Member:
        name = name or f"member {len(self.members)}"
        metrics = Metrics()
        processor = kind(self, name, act)
        worker = Worker(
            processor,
            self.stream,
            WorkerSection(**(self.limits | limits)),
            VirtualClock(),
            metrics,
            dead_topic=DEAD,
            chance=lambda: 0.0,
        )
        stop = asyncio.Event()
        task = asyncio.create_task(worker.run(stop))
        member = Member(name, worker, processor, metrics, stop, task)
        self.members.append(member)
        return member

    async def stop(self, member: Member) -> None:
        member.stop.set()
        await member.task
        member.recount()

    async def kill(self, member: Member) -> None:
        """As kill -9: from now on the group neither hears nor obeys it."""
        for group in self.storage.groups.values():
            for membership in list(group._members):
                if membership._member is member.worker:
                    self.storage.kill(membership)
        member.task.cancel()
        await asyncio.wait({member.task})
        member.recount()

    def put(
        self,
        *keys: bytes | None,
        value: bytes | None = b"{}",
        partition: int = 0,
        headers: Headers = (),
    ) -> list[int]:
        now_ms = int((EPOCH + asyncio.get_running_loop().time()) * 1_000)
        return [self.storage.put((TOPIC, partition), key, value, now_ms, headers) for key in keys]

    def offsets(self, place: Place) -> set[int]:
        return {delivery.offset for delivery in self.storage.logs[place]}

    def settled(self, place: Place) -> set[int]:
        """Handled to an end, or durably among the dead."""
        dead = {it.offset for it in self.letters if (it.topic, it.partition) == place}
        return self.ended[place] | dead

    def mark(self, partition: int = 0) -> Mark:
        return self.marks.get((GROUP, (TOPIC, partition)), Mark(0))

    @property
    def letters(self) -> list[Letter]:
        return [letters.read(delivery) for delivery in self.storage.logs[DEAD, 0]]

    @property
    def begun(self) -> list[tuple[bytes | None, int]]:
        """Keys and offsets of all attempts, in the order they began."""
        return [(it.delivery.key, it.delivery.offset) for it in self.attempts]

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holds():  # nothing there announces itself
                self.check()
                await asyncio.sleep(0.01)
        self.check()

    async def until_time(self, seconds: float) -> None:
        """Since the beginning of the test."""
        loop = asyncio.get_running_loop()
        while (left := seconds - loop.time()) > 0:
            self.check()
            await asyncio.sleep(min(left, 1.0))

    async def finished(self) -> None:
        """The group's marks have reached the end of every partition."""
        places = self.storage.places([TOPIC])
        await self.until(
            lambda: all(
                self.mark(partition).next_offset
                >= 1 + max(self.offsets((topic, partition)), default=-1)
                for topic, partition in places
            )
        )

    def check(self) -> None:
        assert self.marks.problems == []
        for member in self.members:
            if not member.task.done():
                member.recount()

    def checked_end(self) -> None:
        """Nothing was lost: each record was done, or is a dead letter."""
        self.check()
        for place in self.storage.places([TOPIC]):
            assert self.offsets(place) <= self.settled(place)

    async def end(self) -> None:
        for member in self.members:
            if not member.task.done():
                await self.stop(member)
        self.checked_end()


async def done(_: Delivery) -> Outcome:
    return Done()


def taking(seconds: float) -> Act:
    async def act(_: Delivery) -> Outcome:
        await asyncio.sleep(seconds)
        return Done()

    return act
