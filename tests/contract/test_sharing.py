"""What streams shared by several members of a group must do when one comes, goes or dies."""

import asyncio

import pytest

from tests.contract.members import Noting, joined
from tests.contract.words import Storage, append, until
from trunkline.errors import Fenced, StreamUnavailable
from trunkline.stream import Delivery, Mark


async def both(one: Noting, two: Noting) -> list[list[Delivery]]:
    return list(await asyncio.gather(one.fetch(100, 0.2), two.fetch(100, 0.2)))


async def parted(one: Noting, two: Noting, places: int) -> None:
    """Until each has some of the partitions; what is delivered meanwhile counts as handled."""

    async def shared() -> bool:
        await both(one, two)
        return bool(one.marks and two.marks) and len(one.marks) + len(two.marks) == places

    await until(shared)


async def test_a_second_member_takes_over_partitions_and_each_record_comes_once(
    shared_storage: Storage,
) -> None:
    storage = shared_storage
    stream, other = await storage.open(), await storage.open()
    await append(stream, storage.spread(100))
    one = await joined(storage, stream)
    await one.read(60)

    two = await joined(storage, other)
    await parted(one, two, 4)
    await append(stream, storage.spread(100))

    async def everything() -> bool:
        await both(one, two)
        return len(one.seen) + len(two.seen) >= 200

    await until(everything)
    assert one.told == ["assigned", "revoked", "assigned"]
    assert two.told == ["assigned"]
    assert not set(one.marks) & set(two.marks)
    assert len(set(one.seen) | set(two.seen)) == 200 == len(one.seen) + len(two.seen)
    assert await both(one, two) == [[], []]


async def test_nobody_gets_partitions_before_who_had_them_has_let_go(
    shared_storage: Storage,
) -> None:
    storage = shared_storage
    stream, other = await storage.open(), await storage.open()
    await append(stream, storage.spread(40))
    one = await joined(storage, stream)
    await one.read(40)
    one.gate = asyncio.Event()

    two = await joined(storage, other)

    async def letting() -> bool:
        assert await both(one, two) == [[], []]
        return one.letting.is_set()

    await until(letting)
    ends = await stream.ends([storage.calls])
    await append(stream, storage.spread(8))
    assert await both(one, two) == [[], []]
    # It still holds all of them: what it commits in letting go is what the other begins from.
    assert two.told == []
    assert len(one.marks) == 4
    one.gate.set()
    await parted(one, two, 4)
    for place, mark in two.begins.items():
        assert mark.next_offset == ends[place][1]

    async def everything() -> bool:
        await both(one, two)
        return len(one.seen) + len(two.seen) >= 48

    await until(everything)
    assert len({*one.seen, *two.seen}) == 48 == len(one.seen) + len(two.seen)


async def test_a_member_that_leaves_leaves_its_partitions_to_the_other(
    shared_storage: Storage,
) -> None:
    storage = shared_storage
    stream, other = await storage.open(), await storage.open()
    one, two = await joined(storage, stream), await joined(storage, other)
    await parted(one, two, 4)
    await append(stream, storage.spread(40))

    async def everything() -> bool:
        await both(one, two)
        return len(one.seen) + len(two.seen) >= 40

    await until(everything)
    await one.commit({place: Mark(offset) for place, offset in one.handled.items()})
    await one.close()

    async def inherited() -> bool:
        assert await two.fetch(100, 0.2) == []
        return len(two.marks) == 4

    await until(inherited)


async def test_a_killed_members_partitions_go_to_the_other_from_its_last_commit(
    shared_storage: Storage,
) -> None:
    storage = shared_storage
    stream, other = await storage.open(), await storage.open()
    one, two = await joined(storage, stream), await joined(storage, other)
    await parted(one, two, 4)
    await append(stream, storage.spread(60))

    async def everything() -> bool:
        await both(one, two)
        return len(one.seen) + len(two.seen) >= 60

    await until(everything)
    half = {place: Mark(offset // 2, "half") for place, offset in one.handled.items()}
    await one.commit(half)
    unsettled = {at for at in one.seen if at[2] >= half[at[0], at[1]].next_offset}
    before = len(two.seen)

    await storage.rig.crash(one.joined)

    async def inherited() -> bool:
        await two.fetch(100, 0.2)
        return len(two.seen) >= before + len(unsettled)

    await until(inherited)
    assert set(two.seen[before:]) == unsettled
    assert {place: two.begins[place] for place in half} == half
    with pytest.raises((Fenced, StreamUnavailable)):
        await one.commit(half)
    assert two.told == ["assigned", "revoked", "assigned"]


async def test_members_come_and_go_and_every_record_is_handled_once(
    shared_storage: Storage,
) -> None:
    storage = shared_storage
    stream, other = await storage.open(), await storage.open()
    seen: list[tuple[str, int, int]] = []
    one = await joined(storage, stream)
    for number in range(4):
        await append(stream, storage.spread(50))
        await one.fetch(20, 0.5)
        two = await joined(storage, other)
        await parted(one, two, 4)
        await both(one, two)
        await two.commit({place: Mark(offset) for place, offset in two.handled.items()})
        await two.close()
        seen += two.seen

        async def alone() -> bool:
            await one.fetch(20, 0.2)
            return len(one.marks) == 4

        await until(alone)
        assert number * 50 <= len(seen) + len(one.seen)

    async def everything() -> bool:
        await one.fetch(100, 0.2)
        return len(seen) + len(one.seen) >= 200

    await until(everything)
    assert len(set(seen) | set(one.seen)) == 200 == len(seen) + len(one.seen)
