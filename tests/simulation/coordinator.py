"""A group's coordinator: generations, sessions, eager rebalances, marks fenced by generation."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from enum import Enum

from trunkline.stream import Mark, Place

SESSION_SECONDS = 6.0
REBALANCE_SECONDS = 8.0


class Answer(Enum):
    OK = "ok"
    REBALANCE = "rebalance in progress"
    STRANGER = "unknown member or generation"


Share = tuple[int, frozenset[Place]]  # generation and partitions


@dataclass(slots=True)
class Seat:
    topics: Sequence[str]
    heard: float
    joining: "asyncio.Future[Share] | None" = None
    places: frozenset[Place] = frozenset()


class Coordinator:
    """Called only from the broker's side; `tell` notes what happens."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        places: Callable[[str], list[Place]],
        dice: random.Random,
        tell: Callable[[str], None],
    ) -> None:
        self.generation = 0
        self.marks: dict[Place, Mark] = {}
        self._loop = loop
        self._places = places
        self._dice = dice
        self._tell = tell
        self.seats: dict[str, Seat] = {}
        self._deadline: asyncio.TimerHandle | None = None  # a rebalance is being prepared
        self._context = Context()

    def join(self, member: str, topics: Sequence[str]) -> "asyncio.Future[Share]":
        seat = self.seats.get(member)
        if seat is None:
            seat = self.seats[member] = Seat(topics, self._loop.time())
            self._later(SESSION_SECONDS, self._judge, member)
        seat.joining = self._loop.create_future()
        answer = seat.joining
        if self._deadline is None:
            self._tell(f"rebalance: {member} joins")
            self._prepare()
        self._complete_if_all_are_here()
        return answer

    def leave(self, member: str) -> None:
        if self.seats.pop(member, None) is not None:
            self._tell(f"rebalance: {member} is out")
            if not self.seats:
                self.generation += 1  # an empty group forgets whom it had
            elif self._deadline is None:
                self._prepare()
            self._complete_if_all_are_here()

    def beat(self, member: str, generation: int) -> Answer:
        seat = self.seats.get(member)
        if seat is None or generation != self.generation:
            return Answer.STRANGER
        seat.heard = self._loop.time()
        return Answer.OK if self._deadline is None else Answer.REBALANCE

    def commit(self, member: str, generation: int, marks: Mapping[Place, Mark]) -> Answer:
        if member not in self.seats or generation != self.generation:
            return Answer.STRANGER
        self.marks.update(marks)
        return Answer.OK

    def owner(self, place: Place) -> str | None:
        return next((name for name, seat in self.seats.items() if place in seat.places), None)

    def excuse(self) -> None:
        """The broker itself was away: nobody's silence counts."""
        for seat in self.seats.values():
            seat.heard = self._loop.time()

    def _judge(self, member: str) -> None:
        seat = self.seats.get(member)
        if seat is None:
            return
        since = self._loop.time() - seat.heard
        waits = seat.joining is not None
        if since >= SESSION_SECONDS - 1e-6 and not waits:
            self.leave(member)
        else:
            self._later(SESSION_SECONDS if waits else SESSION_SECONDS - since, self._judge, member)

    def _prepare(self) -> None:
        self._deadline = self._later(REBALANCE_SECONDS, self._complete)

    def _complete_if_all_are_here(self) -> None:
        if self._deadline and all(seat.joining is not None for seat in self.seats.values()):
            self._deadline.cancel()
            # As brokers do: a moment's patience lets others join in the same round.
            self._deadline = self._later(self._dice.choice((0.0, 0.0, 0.3)), self._complete)

    def _complete(self) -> None:
        self._deadline = None
        for member in [name for name, seat in self.seats.items() if seat.joining is None]:
            self._tell(f"rebalance: {member} came too late")
            del self.seats[member]
        self.generation += 1
        self._deal()
        for seat in self.seats.values():
            assert seat.joining is not None
            if not seat.joining.done():
                seat.joining.set_result((self.generation, seat.places))
            seat.joining, seat.heard = None, self._loop.time()

    def _deal(self) -> None:
        names = sorted(self.seats)
        self._dice.shuffle(names)
        dealt: dict[str, set[Place]] = {name: set() for name in names}
        topics = sorted({topic for seat in self.seats.values() for topic in seat.topics})
        number = 0
        for topic in topics:
            takers = [name for name in names if topic in self.seats[name].topics]
            for place in self._places(topic):
                dealt[takers[number % len(takers)]].add(place)
                number += 1
        for name, seat in self.seats.items():
            seat.places = frozenset(dealt[name])
        shares = {name: sorted(places) for name, places in dealt.items()}
        self._tell(f"generation {self.generation}: {shares}")

    def _later(
        self, seconds: float, act: Callable[..., None], *arguments: str
    ) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, act, *arguments, context=self._context)
