"""A simulated broker: logs, coordinators, and a network on which things are late or lost."""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.simulation.coordinator import Answer, Coordinator
from tests.simulation.logs import Logs
from tests.simulation.virtual import EPOCH, VirtualLoop
from trunkline.stream import Delivery, Mark, Place, Record

LATE_SECONDS = (0.0, 0.0, 0.002, 0.01)  # most messages are quick


@dataclass(slots=True)
class Faults:
    """Chances that one request meets with a fault; all zero in a quiet time."""

    commit_slow: float = 0.0
    commit_failed: float = 0.0
    commit_unheard: float = 0.0  # done, but the answer is lost
    append_failed: float = 0.0
    append_unheard: float = 0.0
    append_slow: float = 0.0
    fetch_ended: float = 0.0  # the membership comes to its end


class Broker:
    """`tell` notes what happens; `committed` is asked to judge each commit that landed."""

    def __init__(self, loop: VirtualLoop, dice: random.Random, tell: Callable[[str], None]) -> None:
        self.loop = loop
        self.dice = dice
        self.tell = tell
        self.logs = Logs()
        self.faults = Faults()
        self.groups: dict[str, Coordinator] = {}
        self.cut_off: set[str] = set()  # processes whose network is gone
        self.committed: Callable[[str, str, Mapping[Place, Mark]], None] = lambda *_: None
        self.troubled: dict[str, float] = {}  # process -> when a request of it last met a fault
        self.numbers = count()
        self._context = Context()
        self._waiting: list[_Wait] = []
        self._last: dict[str, float] = {}  # when the last request in line arrives
        self._down = False

    def group(self, name: str) -> Coordinator:
        if name not in self.groups:
            self.groups[name] = Coordinator(self.loop, self.logs.places, self.dice, self.tell)
        return self.groups[name]

    def down(self) -> None:
        self._down = True

    def up(self) -> None:
        self._down = False
        for group in self.groups.values():
            group.excuse()

    def reachable(self, process: str) -> bool:
        return not self._down and process not in self.cut_off

    def trouble(self, process: str) -> None:
        self.troubled[process] = self.loop.time()

    def send(
        self, process: str, request: Callable[[], Any], late: float = 0.0, *, line: bool = False
    ) -> "asyncio.Future[Any]":
        """The answer may never come. What the request returns as a future is awaited over there.

        Requests in line do not overtake each other, as on one connection.
        """
        reply: asyncio.Future[Any] = self.loop.create_future()
        delay = self.dice.choice(LATE_SECONDS) + late
        if line:
            now = self.loop.time()
            at = self._last[process] = max(now + delay, self._last.get(process, now) + 1e-6)
            delay = at - now
        self._later(delay, self._arrive, process, request, reply)
        return reply

    def _arrive(
        self, process: str, request: Callable[[], Any], reply: "asyncio.Future[Any]"
    ) -> None:
        if not self.reachable(process):
            self.trouble(process)
            return
        answer = request()
        if isinstance(answer, asyncio.Future):
            answer.add_done_callback(
                lambda it: self._answer(process, reply, it.result()), context=self._context
            )
        else:
            self._later(self.dice.choice(LATE_SECONDS), self._answer, process, reply, answer)

    def _answer(self, process: str, reply: "asyncio.Future[Any]", answer: Any) -> None:
        if not self.reachable(process):
            self.trouble(process)
        elif not reply.done():
            reply.set_result(answer)

    def _later(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        if seconds:
            self.loop.call_later(seconds, act, *arguments, context=self._context)
        else:
            self.loop.call_soon(act, *arguments, context=self._context)

    # Requests: they run on the broker's side, in one step.

    def commit(
        self, process: str, group: str, member: str, generation: int, marks: Mapping[Place, Mark]
    ) -> Answer:
        answer = self.group(group).commit(member, generation, marks)
        said = {f"{topic}/{part}": mark.next_offset for (topic, part), mark in marks.items()}
        self.tell(f"{process} commits {said}: {answer.value}")
        if answer is Answer.OK:
            self.committed(process, member, marks)
        else:
            self.trouble(process)
        return answer

    def fetch(
        self, positions: Mapping[Place, int], records_max: int, seconds: float
    ) -> "asyncio.Future[list[Delivery]]":
        wait = _Wait(dict(positions), records_max, self.loop.create_future())
        if not self._serve(wait):
            self._waiting.append(wait)
            self._later(seconds, self._give_up, wait)
        return wait.answer

    def _serve(self, wait: "_Wait") -> bool:
        places = list(wait.positions)
        self.dice.shuffle(places)
        found: list[Delivery] = []
        for place in places:
            found += self.logs.of[place].read(wait.positions[place], wait.records_max - len(found))
        if found:
            wait.answer.set_result(found)
        return bool(found)

    def _give_up(self, wait: "_Wait") -> None:
        if wait in self._waiting:
            self._waiting.remove(wait)
            wait.answer.set_result([])

    async def append(self, process: str, record: Record) -> Delivery:
        """On the broker's side of an appending client; waits while there is no way to it."""
        while not self.reachable(process):
            self.trouble(process)
            await asyncio.sleep(0.5)
        place = self.logs.place(record.topic, record.key)
        return self.put(place, record.key, record.value, record.headers, record.timestamp_ms)

    def put(
        self,
        place: Place,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
    ) -> Delivery:
        stamp = int((EPOCH + self.loop.time()) * 1000) if timestamp_ms is None else timestamp_ms
        delivery = self.logs.put(place, key, value, tuple(headers), stamp)
        waiting, self._waiting = self._waiting, []
        self._waiting += [it for it in waiting if place not in it.positions or not self._serve(it)]
        return delivery

    def ends(self, topics: Collection[str]) -> dict[Place, tuple[int, int]]:
        logs = self.logs.of
        return {it: (logs[it].start, logs[it].end) for it in logs if it[0] in topics}


@dataclass(slots=True, eq=False)
class _Wait:
    positions: dict[Place, int]
    records_max: int
    answer: "asyncio.Future[list[Delivery]]" = field(repr=False)
