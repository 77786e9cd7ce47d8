"""What every stream must do for those who read it."""

import asyncio

import pytest

from tests.contract.members import joined
from tests.contract.words import PATIENCE_SECONDS, Storage, append, read
from trunkline.errors import TopicMissing
from trunkline.stream import Start


async def test_a_fetch_in_vain_returns_nothing_after_its_wait(storage: Storage) -> None:
    stream = await storage.open()
    subscription = await stream.subscribe([storage.calls], Start.EARLIEST)

    assert await subscription.fetch(10, 0.05) == []

    await append(stream, storage.numbered(1))
    assert len(await read(subscription, 1)) == 1
    assert await subscription.fetch(10, 0) == []


async def test_a_waiting_fetch_gets_what_another_stream_appends(storage: Storage) -> None:
    reader, writer = await storage.open(), await storage.open()
    subscription = await reader.subscribe([storage.calls], Start.EARLIEST)

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(subscription.fetch(10, PATIENCE_SECONDS))
        group.create_task(append(writer, storage.numbered(1)))

    assert [got.value for got in reading.result()] == [b"0"]


async def test_a_fetch_brings_no_more_than_asked_for(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.spread(50))
    subscription = await stream.subscribe([storage.calls], Start.EARLIEST)

    seen = 0
    while seen < 50:
        found = await subscription.fetch(7, PATIENCE_SECONDS)
        assert 0 < len(found) <= 7
        seen += len(found)
    assert seen == 50


async def test_a_long_backlog_of_one_key_does_not_hide_the_others(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(2_000))
    await append(stream, storage.spread(64))
    subscription = await stream.subscribe([storage.calls], Start.EARLIEST)

    partitions = {got.partition for got in await read(subscription, 2_064)}

    assert partitions == set(range(storage.specs[0].partitions))


async def test_latest_begins_with_what_comes_after_subscribing(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(3))
    subscription = await stream.subscribe([storage.calls], Start.LATEST)

    await append(stream, storage.numbered(1, start=3))

    assert [got.value for got in await read(subscription, 1)] == [b"3"]


async def test_reading_remembers_nothing_and_takes_nothing_from_a_group(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(2))
    member = await joined(storage, stream)
    await member.read(2)

    assert len(await storage.read_topic(stream, 2)) == 2
    assert len(await storage.read_topic(stream, 2)) == 2


async def test_one_subscription_reads_several_topics(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, [storage.record(), storage.record(topic=storage.other)])

    found = await storage.read_topic(stream, 2, topics=[storage.calls, storage.other])

    assert {got.topic for got in found} == {storage.calls, storage.other}


async def test_subscribing_to_a_missing_topic_says_so(storage: Storage) -> None:
    stream = await storage.open()

    with pytest.raises(TopicMissing, match=storage.absent):
        await stream.subscribe([storage.calls, storage.absent], Start.EARLIEST)


async def test_a_null_key_or_value_of_a_foreign_producer_comes_back_as_none(
    shared_storage: Storage,
) -> None:
    stream = await shared_storage.open()
    place = shared_storage.calls, 0
    await shared_storage.rig.foreign(place, None, b"value")
    await shared_storage.rig.foreign(place, b"key", None)

    found = await shared_storage.read_topic(stream, 2)

    assert [(got.key, got.value) for got in found] == [(None, b"value"), (b"key", None)]
