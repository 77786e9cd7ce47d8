"""The switches of the shipped fake."""

import asyncio
from collections.abc import Collection

import pytest

from tests.contract.members import Noting
from tests.stream.words import SPEC, TOPIC, record
from trunkline.errors import Fenced, StreamUnavailable
from trunkline.stream import Mark, Place
from trunkline.stream.memory import MemoryStream


async def test_a_failure_set_by_hand_fails_appends_and_checks_until_taken_away() -> None:
    stream = MemoryStream([SPEC])
    stream.failure = StreamUnavailable("the disk is full")

    assert await stream.append([record("one")]) == [stream.failure]
    with pytest.raises(StreamUnavailable, match="full"):
        await stream.check()
    assert stream.records == []

    stream.failure = None
    await stream.check()
    assert await stream.append([record("one")]) == [None]
    assert [got.key for got in stream.records] == [b"one"]


async def test_a_shut_gate_holds_appends_and_lets_them_through_in_order() -> None:
    stream = MemoryStream([SPEC])
    stream.gate.clear()
    appending = [asyncio.create_task(stream.append([record("a")])) for _ in range(2)]
    await asyncio.sleep(0)
    assert stream.records == []

    stream.gate.set()

    assert await asyncio.gather(*appending) == [[None], [None]]
    assert [got.offset for got in stream.records] == [0, 1]


async def test_a_commit_fails_as_told_and_succeeds_afterwards() -> None:
    stream = MemoryStream([SPEC])
    member = Noting()
    member.joined = await stream.join([TOPIC], "readers", member)
    await member.settled()
    stream.storage.commit_failure = StreamUnavailable("try again")

    with pytest.raises(StreamUnavailable, match="again"):
        await member.commit({(TOPIC, 0): Mark(1)})
    assert stream.storage.marks == {}

    stream.storage.commit_failure = None
    await member.commit({(TOPIC, 0): Mark(1)})
    assert stream.storage.marks == {("readers", (TOPIC, 0)): Mark(1)}


async def test_the_dead_learn_of_it_when_they_next_fetch() -> None:
    stream = MemoryStream([SPEC])
    member, heir = Noting(), Noting()
    member.joined = killed = await stream.join([TOPIC], "readers", member)
    await member.settled()
    heir.joined = await stream.join([TOPIC], "readers", heir)

    stream.storage.kill(killed)
    await heir.settled()

    assert len(heir.marks) == SPEC.partitions
    with pytest.raises(Fenced):
        await member.commit({(TOPIC, 0): Mark(1)})
    assert member.told == ["assigned"]
    with pytest.raises(StreamUnavailable):
        await member.fetch(1, 0)
    assert member.told == ["assigned", "lost"]
    assert member.marks == {}


async def test_who_does_not_let_go_in_time_loses_its_partitions() -> None:
    stream = MemoryStream([SPEC])
    stream.storage.revoke_seconds = 0.01
    member, heir = Noting(), Noting()
    member.joined = await stream.join([TOPIC], "readers", member)
    await member.settled()
    member.gate.clear()

    heir.joined = await stream.join([TOPIC], "readers", heir)
    await heir.settled()

    assert member.told == ["assigned", "revoked", "lost"]
    assert len(heir.marks) == SPEC.partitions / 2
    await member.settled()
    assert len(member.marks) == SPEC.partitions / 2


async def test_who_lets_go_with_an_error_loses_its_partitions_too() -> None:
    class Clumsy(Noting):
        async def revoked(self, places: Collection[Place]) -> None:
            raise RuntimeError(places)

    stream = MemoryStream([SPEC])
    member, heir = Clumsy(), Noting()
    member.joined = await stream.join([TOPIC], "readers", member)
    await member.settled()

    heir.joined = await stream.join([TOPIC], "readers", heir)
    await heir.settled()

    assert member.told == ["assigned", "lost"]
    assert len(heir.marks) == SPEC.partitions / 2
