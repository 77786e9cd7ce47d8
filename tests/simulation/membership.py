"""One member of a group over the simulated broker, as a Kafka client is one."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from tests.simulation.broker import Broker
from tests.simulation.coordinator import Answer
from tests.simulation.virtual import Process
from tests.simulation.witness import Witness
from trunkline.errors import Fenced, StreamUnavailable
from trunkline.stream import Delivery, Mark, Member, Place
from trunkline.stream.handover import let_go

LET_GO_SECONDS = 4.0  # half of the time the coordinator waits
REQUEST_SECONDS = 3.0
BEAT_SECONDS = 1.0
LONG_POLL_SECONDS = 2.0


class SimulatedMembership:
    """As on Kafka: told of partitions from within fetch, asked to give them up at any time."""

    def __init__(
        self,
        broker: Broker,
        process: Process,
        witness: Witness,
        topics: Sequence[str],
        group: str,
        member: Member,
    ) -> None:
        self._broker = broker
        self._process = process
        self._witness = witness
        self._topics = topics
        self._group = group
        self._member = member
        self.id = f"{process.name}:{next(broker.numbers)}"
        self._generation = -1
        self._untold: dict[Place, Mark] = {}
        self._owned: dict[Place, int] = {}  # told; position
        self._parting = False
        self._end: str | None = None
        self._change = asyncio.Event()
        self._verdict: Answer | None = None
        self._beat_timer: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(self._coordinate(), name=f"{self.id} coordination")

    # The group's side.

    async def _coordinate(self) -> None:
        while self._end is None:
            if not await self._rejoin():
                continue
            await self._until_unsettled()
            if self._verdict is Answer.STRANGER:
                self._lose("the group has forgotten this member")
                self.id = f"{self._process.name}:{next(self._broker.numbers)}"
                # aiokafka would join again by itself; often it ends instead, and so it may here.
                if self._broker.dice.random() < 0.5:
                    self._finish("the membership is at its end")
            else:
                await self._let_go()

    async def _rejoin(self) -> bool:
        coordinator = self._broker.group(self._group)
        try:
            async with asyncio.timeout(12.0):
                share = await self._send(lambda: coordinator.join(self.id, self._topics))
                self._generation, places = share
                marks = await self._send(lambda: self._marks(places))
        except TimeoutError:
            return False
        self._verdict = None
        self._beat()
        self._untold, self._parting = marks, False
        self._change.set()
        return True

    def _marks(self, places: Collection[Place]) -> dict[Place, Mark]:
        found = {}
        for place in sorted(places):
            log = self._broker.logs.of[place]
            mark = self._broker.group(self._group).marks.get(place)
            usable = mark is not None and log.start <= mark.next_offset <= log.end
            found[place] = mark if mark is not None and usable else Mark(log.start)
        return found

    def _beat(self) -> None:
        """Not a task: it runs every second of every process. A paused process misses its beats."""
        generation, coordinator = self._generation, self._broker.group(self._group)
        member = self.id
        reply = self._send(lambda: coordinator.beat(member, generation))
        reply.add_done_callback(lambda it: self._heard(it.result(), generation))
        self._beat_timer = self._broker.loop.call_later(BEAT_SECONDS, self._beat)

    def _heard(self, answer: Answer, generation: int) -> None:
        current = generation == self._generation and self._verdict is not Answer.STRANGER
        if answer is not Answer.OK and current:
            self._verdict = answer
            self._change.set()

    async def _until_unsettled(self) -> None:
        """Until the coordinator has something to say; a client may also notice its own silence."""
        while self._verdict is None and self._end is None:
            await self._changed(None)

    async def _changed(self, until: float | None) -> None:
        self._change.clear()
        async with asyncio.timeout_at(until):
            await self._change.wait()

    async def _let_go(self) -> None:
        self._parting, self._untold = True, {}
        places = list(self._owned)
        if places:
            self._witness.revoking(self._process)
            await let_go(self._member, places, LET_GO_SECONDS)
            self._witness.revoked(self._process, places, LET_GO_SECONDS)
        self._owned = {}
        self._stop_beating()

    def _stop_beating(self) -> None:
        if self._beat_timer is not None:
            self._beat_timer.cancel()
            self._beat_timer = None

    def _lose(self, why: str) -> None:
        self._stop_beating()
        lost, self._owned, self._untold = list(self._owned), {}, {}
        self._witness.tell(f"{self.id} loses {lost}: {why}")
        if lost:
            self._member.lost(lost)
            self._witness.dropped(self._process, lost)

    def _finish(self, why: str) -> None:
        if self._end is None:
            self._end = why
            self._lose(why)
            self._change.set()

    # The member's side.

    async def fetch(
        self, records_max: int, wait_seconds: float, held: Collection[Place] = ()
    ) -> list[Delivery]:
        loop = self._broker.loop
        deadline = loop.time() + wait_seconds
        if self._broker.dice.random() < self._broker.faults.fetch_ended:
            self._broker.trouble(self._process.name)
            self._finish("the coordinator's routine has failed")
        while True:
            self._tell()
            wanted = {} if self._parting else self._wanted(held)
            try:
                if wanted:
                    found = await self._poll(wanted, records_max, deadline)
                    if found or loop.time() >= deadline:
                        return found
                else:
                    await self._changed(deadline)
            except TimeoutError:
                return []

    def _wanted(self, held: Collection[Place]) -> dict[Place, int]:
        return {place: at for place, at in self._owned.items() if place not in held}

    async def _poll(
        self, wanted: dict[Place, int], records_max: int, deadline: float
    ) -> list[Delivery]:
        loop, generation = self._broker.loop, self._generation
        seconds = max(0.0, min(deadline - loop.time(), LONG_POLL_SECONDS))
        async with asyncio.timeout_at(max(deadline, loop.time()) + 0.1):
            found: list[Delivery] = await self._send(
                lambda: self._broker.fetch(wanted, records_max, seconds)
            )
        if self._parting or generation != self._generation or not self._owned:
            return []
        for it in found:
            self._owned[it.topic, it.partition] = it.offset + 1
        self._witness.delivered(self._process, found)
        return found

    def _tell(self) -> None:
        if self._end is not None:
            raise StreamUnavailable(self._end)
        untold, self._untold = self._untold, {}
        if untold:
            self._owned = {place: mark.next_offset for place, mark in untold.items()}
            self._witness.assigned(self._process, untold)
            self._member.assigned(untold)

    async def commit(self, marks: Mapping[Place, Mark]) -> None:
        broker, generation, name = self._broker, self._generation, self._process.name
        member = self.id
        strange = sorted(set(marks) - set(self._owned))
        if strange:
            raise Fenced(f"{strange} are not ours")
        faults, chance = broker.faults, broker.dice.random()
        if chance < faults.commit_failed:
            broker.trouble(name)
            self._witness.tell(f"{name} commit fails")
            raise StreamUnavailable("a commit failed")
        late = broker.dice.uniform(0.1, 2.5) if broker.dice.random() < faults.commit_slow else 0.0
        if late:
            broker.trouble(name)
        sent = dict(marks)
        self._witness.committing(self._process, sent)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                answer = await broker.send(
                    name,
                    lambda: broker.commit(name, self._group, member, generation, sent),
                    late,
                    line=True,
                )
        except TimeoutError:
            broker.trouble(name)
            raise StreamUnavailable("a commit was not answered") from None
        if answer is Answer.STRANGER:
            raise Fenced("another generation")
        if chance > 1.0 - faults.commit_unheard:
            broker.trouble(name)
            self._witness.tell(f"{name} does not hear of its commit")
            raise StreamUnavailable("a commit landed, but its answer was lost")

    async def close(self) -> None:
        self._stop_beating()
        if self._task.done() and self._end is None:
            self._task.result()
        self._end = self._end or "the membership is closed"
        self._task.cancel()
        self._owned, self._untold = {}, {}
        coordinator = self._broker.group(self._group)
        self._witness.closed(self._process)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                await self._send(lambda: coordinator.leave(self.id))
        except TimeoutError:
            pass

    def _send(self, request: Callable[[], Any]) -> "asyncio.Future[Any]":
        return self._broker.send(self._process.name, request)
