"""What is kept of a poll that came too late, brought too much, or was overtaken by a rebalance."""

import asyncio
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from trunkline.errors import StreamUnavailable
from trunkline.stream.kafka_poll import Poll

ONE, TWO = TopicPartition("calls", 1), TopicPartition("calls", 2)


def consumer_record(place: TopicPartition, offset: int) -> Any:
    return ConsumerRecord(*place, offset, 0, 0, b"k", b"v", None, 1, 1, ())


class Consumer:
    """Answers a getmany when the test says so, with what it says, and notes what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[TopicPartition, ...]] = []
        self._answers: asyncio.Queue[dict[TopicPartition, list[Any]] | Exception] = asyncio.Queue()

    async def getmany(self, *places: TopicPartition, timeout_ms: int, max_records: int) -> Any:
        del timeout_ms, max_records
        self.asked.append(places)
        answer = await self._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answer(self, *offsets: tuple[TopicPartition, int]) -> None:
        found: dict[TopicPartition, list[Any]] = {}
        for place, offset in offsets:
            found.setdefault(place, []).append(consumer_record(place, offset))
        self._answers.put_nowait(found)

    def fail(self, error: Exception) -> None:
        self._answers.put_nowait(error)


async def turns() -> None:
    """Long enough for a poll that was answered to end."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_poll_that_outlasts_its_caller_is_left_to_the_next() -> None:
    consumer = Consumer()
    poll = Poll(consumer)

    assert await poll.fetch(10, 0.01, [ONE]) == []
    assert await poll.fetch(10, 0.01, [ONE]) == []
    consumer.answer((ONE, 7))

    assert [it.offset for it in await poll.fetch(10, 5, [ONE])] == [7]
    assert consumer.asked == [(ONE,)]


async def test_what_a_poll_brought_before_a_rebalance_is_dropped() -> None:
    consumer = Consumer()
    poll = Poll(consumer)
    assert await poll.fetch(10, 0, [ONE]) == []
    consumer.answer((ONE, 7))
    await turns()  # the poll is done, and nobody has looked yet

    poll.forget()

    assert await poll.fetch(10, 0.01, [ONE]) == []
    consumer.answer((ONE, 3))
    assert [it.offset for it in await poll.fetch(10, 5, [ONE])] == [3]


async def test_what_came_for_held_partitions_waits_and_a_rebalance_drops_it() -> None:
    consumer = Consumer()
    poll = Poll(consumer)
    consumer.answer((ONE, 1), (TWO, 5), (ONE, 2))
    held = {("calls", 1)}
    assert [it.offset for it in await poll.fetch(10, 5, [ONE, TWO], held)] == [5]
    assert await poll.fetch(10, 0, [TWO], held) == []

    assert [it.offset for it in await poll.fetch(1, 5, [ONE, TWO])] == [1]
    poll.forget()
    consumer.answer((TWO, 6))

    assert [it.offset for it in await poll.fetch(10, 5, [ONE, TWO])] == [6]


async def test_no_more_is_returned_than_asked_for_and_the_rest_comes_next() -> None:
    consumer = Consumer()
    poll = Poll(consumer)
    assert await poll.fetch(10, 0, [ONE]) == []
    consumer.answer(*[(ONE, offset) for offset in range(5)])

    assert [it.offset for it in await poll.fetch(2, 5, [ONE])] == [0, 1]
    assert [it.offset for it in await poll.fetch(2, 5, [ONE], {("calls", 2)})] == [2, 3]
    assert [it.offset for it in await poll.fetch(2, 5, [ONE])] == [4]
    assert len(consumer.asked) == 1


async def test_a_poll_that_failed_fails_for_good() -> None:
    consumer = Consumer()
    poll = Poll(consumer)
    consumer.fail(KafkaError("no longer"))

    for _ in range(2):
        with pytest.raises(StreamUnavailable, match="no longer"):
            await poll.fetch(10, 5, [ONE])
    assert len(consumer.asked) == 1
