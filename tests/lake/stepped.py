"""A lake on a schedule: publishers that stop before and after every touch of the store.

A seed decides who goes on, who is killed, whose store fails, who takes over and leaves a zombie.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

from sinks.lake import Lake
from sinks.store import StoreUnavailable
from tests.lake.words import START_MS, lines, recorded
from trunkline.cli.publishing import Publish
from trunkline.outcome import Done, Retry
from trunkline.settings import LakeSection, Settings
from trunkline.stream import Delivery

Step = Callable[[], Awaitable[None]]


class Objects(dict[str, bytes]):
    """What the store holds; refuses to hold a record twice, whoever puts it."""

    def __init__(self) -> None:
        self.owners: dict[int, str] = {}

    def put_absent(self, name: str, data: bytes) -> bool:
        if name in self:
            return False
        self[name] = data
        for line in lines(data) if name.endswith(".jsonl") else ():
            other = self.owners.setdefault(line["offset"], name)
            assert other == name, f"{line['offset']} is in {other} and in {name}"
        return True

    def published(self) -> dict[str, bytes]:
        return {name: data for name, data in self.items() if name.endswith(".jsonl")}


class SteppedStore:
    def __init__(self, objects: Objects, step: Step, fails: Callable[[], bool]) -> None:
        self._objects = objects
        self._step = step
        self._fails = fails

    async def put_absent(self, name: str, data: bytes) -> bool:
        await self._touch()
        created = self._objects.put_absent(name, data)
        await self._touch()
        return created

    async def read(self, name: str) -> bytes | None:
        await self._touch()
        return self._objects.get(name)

    async def names(self, folder: str) -> list[str]:
        await self._touch()
        parts = [name.rpartition("/") for name in self._objects]
        return [last for found, _, last in parts if found == folder]

    async def _touch(self) -> None:
        await self._step()
        if self._fails():
            raise StoreUnavailable("the store fails as the seed says")


class World:
    def __init__(self, seed: int, records: int, *, fail_share: float = 0.0) -> None:
        self.random = Random(seed)  # noqa: S311  # a seed that can be run again
        self.objects = Objects()
        self.records = records
        self.visible = 0
        self.mark = 0
        self.owner = -1
        self._fail_share = fail_share
        self._gates: list[asyncio.Future[None]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def step(self) -> None:
        gate = asyncio.get_running_loop().create_future()
        self._gates.append(gate)
        await gate

    def _fails(self) -> bool:
        return self.random.random() < self._fail_share

    def join(self) -> None:
        """A new owner; the one before does not hear of it."""
        self.owner += 1
        publishing = self._publish(self.owner)
        self.tasks.append(asyncio.get_running_loop().create_task(publishing))

    async def _publish(self, me: int) -> None:
        random = self.random
        limits = LakeSection(
            cut_seconds=random.choice((0.3, 1, 4)), cut_records_max=random.randint(1, 30)
        )
        lake = Lake(SteppedStore(self.objects, self.step, self._fails))
        publish = Publish(lake, Settings(lake=limits))
        position = self.mark
        waiting: list[Delivery] = []
        settled: int | None = None
        skew = random.uniform(-2, 2)
        while True:
            await self.step()
            if me == self.owner and settled is not None and random.random() < 0.8:
                self.mark, settled = settled, None
            upto = min(self.visible, position + random.randint(0, 20))
            waiting += [recorded(offset) for offset in range(position, upto)]
            position = max(position, upto)
            now = START_MS / 1_000 + self.visible * 0.04 + skew
            if self.visible == self.records:
                now += 20
            count = publish.take(waiting, now) if waiting else 0
            if isinstance(count, float) or count == 0:
                continue
            outcomes = await publish.handle(waiting[:count])
            assert len(outcomes) == count
            done = sum(isinstance(outcome, Done) for outcome in outcomes)
            assert all(isinstance(outcome, Retry) for outcome in outcomes[done:])
            del waiting[:done]
            if done:
                settled = waiting[0].offset if waiting else position

    async def turn(self) -> None:
        """One of those who wait goes on."""
        for _ in range(4):
            await asyncio.sleep(0)
        for task in self.tasks:
            if task.done() and not task.cancelled():
                task.result()
        open_ = [gate for gate in self._gates if not gate.done()]
        if open_:
            chosen = self.random.choice(open_)
            chosen.set_result(None)
            open_.remove(chosen)
        self._gates = open_

    async def finish(self) -> None:
        """Everybody dies; one that nothing happens to publishes what is left."""
        await self.end()
        self._fail_share = 0
        self.visible = self.records
        self.join()
        turns = 0
        while self.mark < self.records:
            await self.turn()
            turns += 1
            assert turns < 50_000, "the last publisher does not come to an end"
        await self.end()

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        for task in self.tasks:
            with suppress(asyncio.CancelledError):
                await task
        self.tasks.clear()
        self._gates.clear()
