"""The switches of the shipped fake."""

import asyncio

import pytest

from tests.stream.words import SPEC, record
from trunkline.errors import GroupTaken, StreamUnavailable
from trunkline.stream import Start
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


async def test_a_group_has_one_consumer_at_a_time() -> None:
    stream = MemoryStream([SPEC])
    first = await stream.subscribe(["calls"], "readers", Start.EARLIEST)
    with pytest.raises(GroupTaken):
        await stream.subscribe(["calls"], "readers", Start.EARLIEST)

    await first.close()

    await stream.subscribe(["calls"], "readers", Start.EARLIEST)
