"""A member of a group as the contract sees it: notes what it is told, and reads through it."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from tests.contract.words import Storage, until
from trunkline.stream import Delivery, Mark, Membership, Place, Stream


class Noting:
    """Takes what it fetches for handled, and commits that when it has to let go."""

    def __init__(self) -> None:
        self.joined: Membership
        self.told: list[str] = []
        self.marks: dict[Place, Mark] = {}  # of what is ours now
        self.begins: dict[Place, Mark] = {}  # the newest mark of each partition that ever was ours
        self.handled: dict[Place, int] = {}
        self.seen: list[tuple[str, int, int]] = []
        self.letting = asyncio.Event()
        self.gate = asyncio.Event()  # cleared, it does not let go
        self.gate.set()

    def assigned(self, marks: Mapping[Place, Mark]) -> None:
        assert not set(marks) & set(self.marks), "assigned what it has"
        self.told.append("assigned")
        self.marks |= marks
        self.begins |= marks

    async def revoked(self, places: Collection[Place]) -> None:
        assert set(places) <= set(self.marks), "revoked what it has not"
        self.told.append("revoked")
        self.letting.set()
        await self.gate.wait()
        done = {place: Mark(self.handled[place]) for place in places if place in self.handled}
        await self.commit(done)
        self._forget(places)

    def lost(self, places: Collection[Place]) -> None:
        assert set(places) <= set(self.marks), "lost what it has not"
        self.told.append("lost")
        self._forget(places)

    def _forget(self, places: Collection[Place]) -> None:
        for place in places:
            del self.marks[place]
            self.handled.pop(place, None)

    async def fetch(
        self, records_max: int, wait_seconds: float, held: Collection[Place] = ()
    ) -> list[Delivery]:
        found = await self.joined.fetch(records_max, wait_seconds, held)
        assert len(found) <= records_max
        for got in found:
            place = got.topic, got.partition
            assert place in self.marks, "a delivery of a partition that is not ours"
            assert place not in held, "a delivery of a partition that is held back"
            assert got.offset >= self.handled.get(place, self.marks[place].next_offset), "again"
            self.handled[place] = got.offset + 1
            self.seen.append((*place, got.offset))
        return found

    async def commit(self, marks: Mapping[Place, Mark]) -> None:
        await self.joined.commit(marks)

    async def close(self) -> None:
        await self.joined.close()

    async def read(self, count: int, held: Collection[Place] = ()) -> list[Delivery]:
        """Exactly the next `count` deliveries; fails when they do not come."""
        found: list[Delivery] = []

        async def enough() -> bool:
            found.extend(await self.fetch(count - len(found), 0.5, held))
            return len(found) == count

        if count:
            await until(enough)
        return found

    async def settled(self) -> list[Delivery]:
        """What is delivered until it has partitions, and at once after that."""
        found: list[Delivery] = []

        async def ours() -> bool:
            found.extend(await self.fetch(100, 0.1))
            return bool(self.marks)

        await until(ours)
        return found + await self.fetch(100, 0.1)


async def joined(
    storage: Storage, stream: Stream, topics: Sequence[str] = (), group: str = ""
) -> Noting:
    member = Noting()
    member.joined = await stream.join(topics or [storage.calls], storage.group + group, member)
    return member
