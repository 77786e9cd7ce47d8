"""A process that runs the real worker, and dies and stops as processes do."""

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

from tests.simulation.behaviour import Simulated, Weary
from tests.simulation.client import SimulatedStream
from tests.simulation.plan import DEAD, TIERS
from tests.simulation.virtual import Process
from trunkline.metrics import Metrics
from trunkline.service import Heart
from trunkline.worker import worker as worker_file
from trunkline.worker.deferral import Tiers
from trunkline.worker.worker import Worker

if TYPE_CHECKING:
    from tests.simulation.world import World

LEAVE_SECONDS = 2.0  # beyond the time to drain
# Looking a hundred times a second whether there is room again would be most of a simulation.
worker_file._HELD_WAIT_SECONDS = 0.1


class StillHeart(Heart):
    """Beats ten times a second would be most of what happens in a simulation."""

    async def beat(self) -> None:
        await asyncio.get_running_loop().create_future()


class Host:
    def __init__(self, world: "World", name: str, skew_seconds: float) -> None:
        self.name = name
        self._world = world
        self._process = Process(world.loop, name, skew_seconds)
        self._stop = asyncio.Event()
        self._stopped_at: float | None = None
        self._task: asyncio.Task[Any] | None = None
        plan, dice = world.plan, world.dice
        stream = SimulatedStream(world.broker, self._process, world.witness)
        processor = Simulated(
            sorted(plan.partitions), self._process, world.witness, world.fates, plan.batch
        )
        self.worker = Worker(
            processor,
            stream,
            plan.limits,
            self._process.clock,
            Metrics(),
            dead_topic=DEAD,
            tiers=Tiers({seconds: topic for topic, seconds in TIERS.items()}),
            chance=dice.random,
        )
        self.worker.heart = StillHeart(self._process.clock)

    @property
    def alive(self) -> bool:
        done = self._task is not None and self._task.done()
        return not (done or self._process.dead)

    def start(self) -> None:
        self._task = self._process.start(self._live(), self.name)

    def stop(self) -> None:
        if self.alive and self._stopped_at is None:
            self._stopped_at = self._world.loop.time()
            self._world.witness.stopping(self._process)
            self._stop.set()

    def crash(self) -> None:
        self._process.crash()
        self._world.witness.crashed(self._process)

    def pause(self) -> None:
        self._world.witness.tell(f"{self.name} stands still")
        self._world.witness.disturbed(self._process, still=True)
        self._process.pause()

    def resume(self) -> None:
        if self._process.stopped and not self._process.dead:
            self._world.witness.tell(f"{self.name} goes on")
            self._world.witness.disturbed(self._process, still=False)
            self._process.resume()

    async def _live(self) -> None:
        world = self._world
        try:
            await self.worker.run(self._stop)
        except BaseExceptionGroup as group:
            self.crash()
            rest = group.split(Weary)[1]
            if rest is not None:
                world.witness.violated("alive", f"{self.name} ends with {rest.exceptions!r}")
            world.witness.tell(f"{self.name} was felled by its handler")
            world.loop.call_later(0.5, world.start, context=Context())
        else:
            self._judge_stop()
            self.check()

    def _judge_stop(self) -> None:
        world, since = self._world, self._stopped_at
        if since is None:
            world.witness.violated("alive", f"{self.name} ends without being asked to")
            return
        took = world.loop.time() - since
        world.witness.tell(f"{self.name} has stopped in {took:.2f} s")
        grace = world.plan.limits.drain_seconds + LEAVE_SECONDS
        if took > grace and world.witness.is_calm(self.name, since):
            world.witness.violated("I9", f"{self.name} stops in {took:.2f} s")

    def check(self) -> None:
        """What is counted equals what is there, and nothing in flight is in nobody's hand."""
        if not self.alive:
            return
        worker, witness = self.worker, self._world.witness
        violated = witness.violated
        leaving = self._stopped_at is not None or self.name in witness.fallen
        if not worker.account.balanced:
            violated("I14", f"{self.name} counts {worker.account}")
        running = {id(work) for run in worker._runs.running for work in run.works}
        for place, holding in worker._holdings.places.items():
            if not (leaving or witness.holds(self._process, place)):
                violated("I14", f"{self.name} still counts on {place}, which it has lost")
            waiting = holding.lane.queues.values()
            here = running | {id(work) for queue in waiting for work in queue.waiting}
            for offset, work in holding.tracker.unsettled.items():
                if id(work) not in here:
                    violated("I14", f"{self.name} has {place} {offset} in flight, but nowhere")
