"""Shares a topic's partitions among the members of a group, as a broker's coordinator does."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from trunkline.errors import Fenced, StreamUnavailable
from trunkline.stream import NOTE_BYTES_MAX, Delivery, Mark, Member, Place
from trunkline.stream.handover import let_go
from trunkline.stream.memory_storage import MemoryStorage


class MemoryMembership:
    """The member hears of its partitions only from within fetch, and of giving them up at any time.

    So whoever joins has the membership in hand before its member is asked to commit.
    """

    def __init__(
        self, storage: MemoryStorage, group: "MemoryGroup", topics: Sequence[str], member: Member
    ) -> None:
        self._storage = storage
        self._group = group
        self._member = member
        self.topics = frozenset(topics)
        self._owned: frozenset[Place] = frozenset()
        self._untold: frozenset[Place] = frozenset()
        self._lost: frozenset[Place] = frozenset()
        self._positions: dict[Place, int] = {}
        self._letting_go: asyncio.Task[None] | None = None
        self._turn = 0
        self._end: str | None = None
        self._arrived = asyncio.Event()
        storage.listeners.add(self._arrived)

    async def fetch(
        self, records_max: int, wait_seconds: float, held: Collection[Place] = ()
    ) -> list[Delivery]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        held = frozenset(held)
        while True:
            self._arrived.clear()
            self._tell()
            found = self._take(records_max, held)
            if found or loop.time() >= deadline:
                return found
            try:
                async with asyncio.timeout_at(deadline):
                    await self._arrived.wait()
            except TimeoutError:
                continue

    def _tell(self) -> None:
        if self._end is not None:
            lost, self._lost = self._lost, frozenset()
            if lost:
                self._member.lost(lost)
            raise StreamUnavailable(self._end)
        untold, self._untold = self._untold, frozenset()
        if untold:
            marks = {place: self._group.mark(place) for place in sorted(untold)}
            self._positions = {place: mark.next_offset for place, mark in marks.items()}
            self._member.assigned(marks)

    def _take(self, records_max: int, held: Collection[Place]) -> list[Delivery]:
        """Beginning with another partition each time."""
        places = [place for place in self._positions if place not in held]
        self._turn = (self._turn + 1) % max(1, len(places))
        found: list[Delivery] = []
        for place in places[self._turn :] + places[: self._turn]:
            left = records_max - len(found)
            found += self._storage.read(place, self._positions[place], left)
        for delivery in found:
            self._positions[delivery.topic, delivery.partition] = delivery.offset + 1
        return found

    async def commit(self, marks: Mapping[Place, Mark]) -> None:
        assert all(len(mark.note.encode()) <= NOTE_BYTES_MAX for mark in marks.values())
        strange = sorted(set(marks) - (self._owned - self._untold))
        if strange:
            raise Fenced(f"{self._group.name} does not own {strange} here")
        self._group.write(marks)

    async def close(self) -> None:
        self._leave("the membership is closed")
        self._lost = frozenset()

    def die(self) -> None:
        self._leave("the group has given this member up")

    def _leave(self, end: str) -> None:
        if self._end is None:
            self._end = end
            self._lost = self._owned - self._untold
            self._owned = self._untold = frozenset()
            self._positions = {}
            if self._letting_go is not None:
                self._letting_go.cancel()
            self._storage.listeners.discard(self._arrived)
            self._group.remove(self)

    def grant(self, places: frozenset[Place]) -> None:
        self._owned = self._untold = places
        self._arrived.set()

    async def let_go(self) -> None:
        places = self._owned - self._untold
        # Nothing more is fetched of them, and they can be committed to the end.
        self._untold, self._positions = frozenset(), {}
        if places:
            self._letting_go = asyncio.current_task()
            try:
                await let_go(self._member, places, self._storage.revoke_seconds)
            finally:
                self._letting_go = None
                self._owned = frozenset()


class MemoryGroup:
    """Every change of membership takes all partitions back and deals them out anew."""

    def __init__(self, name: str, storage: MemoryStorage) -> None:
        self.name = name
        self.generation = 0
        self._storage = storage
        self._members: list[MemoryMembership] = []
        self._changed = False
        self._rebalancing: asyncio.Task[None] | None = None

    def join(self, topics: Sequence[str], member: Member) -> MemoryMembership:
        membership = MemoryMembership(self._storage, self, topics, member)
        self._members.append(membership)
        self._change()
        return membership

    def remove(self, membership: MemoryMembership) -> None:
        self._members.remove(membership)
        self._change()

    def mark(self, place: Place) -> Mark:
        return self._storage.mark(self.name, place)

    def write(self, marks: Mapping[Place, Mark]) -> None:
        if self._storage.commit_failure is not None:
            raise self._storage.commit_failure
        for place, mark in marks.items():
            self._storage.marks[self.name, place] = mark

    def _change(self) -> None:
        self._changed = True
        if self._rebalancing is None or self._rebalancing.done():
            self._rebalancing = asyncio.create_task(self._rebalance(), name="memory rebalance")

    async def _rebalance(self) -> None:
        while self._changed:
            parting = [asyncio.create_task(member.let_go()) for member in self._members]
            if parting:
                await asyncio.wait(parting)
            # Who came or went during the wait is dealt with in this round.
            self._changed = False
            self.generation += 1
            self._deal()

    def _deal(self) -> None:
        dealt: dict[MemoryMembership, set[Place]] = {member: set() for member in self._members}
        topics = sorted(set().union(*(member.topics for member in self._members)))
        for number, place in enumerate(self._storage.places(topics)):
            takers = [member for member in self._members if place[0] in member.topics]
            dealt[takers[number % len(takers)]].add(place)
        for member, places in dealt.items():
            member.grant(frozenset(places))
