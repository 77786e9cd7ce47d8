"""What every stream must do for those who read it."""

import asyncio

import pytest

from tests.contract.kafka_factory import append_foreign
from tests.contract.words import PATIENCE_SECONDS, Storage, append, read
from trunkline.errors import TopicMissing
from trunkline.stream import Start


async def test_a_fetch_in_vain_returns_nothing_after_its_wait(storage: Storage) -> None:
    stream = await storage.open()
    subscription = await stream.subscribe([storage.calls], None, Start.EARLIEST)

    assert await subscription.fetch(10, 0.05) == []

    await append(stream, storage.numbered(1))
    assert len(await read(subscription, 1)) == 1
    assert await subscription.fetch(10, 0) == []


async def test_a_waiting_fetch_gets_what_another_stream_appends(storage: Storage) -> None:
    reader, writer = await storage.open(), await storage.open()
    subscription = await reader.subscribe([storage.calls], None, Start.EARLIEST)

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(subscription.fetch(10, PATIENCE_SECONDS))
        group.create_task(append(writer, storage.numbered(1)))

    assert [got.value for got in reading.result()] == [b"0"]


async def test_a_fetch_brings_no_more_than_asked_for(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.spread(50))
    subscription = await stream.subscribe([storage.calls], None, Start.EARLIEST)

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
    subscription = await stream.subscribe([storage.calls], None, Start.EARLIEST)

    partitions = {got.partition for got in await read(subscription, 2_064)}

    assert partitions == set(range(storage.specs[0].partitions))


async def test_a_group_resumes_exactly_where_it_settled(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(10))
    subscription = await stream.subscribe([storage.calls], "readers", Start.EARLIEST)
    third = (await read(subscription, 5))[2]
    await subscription.settle(storage.calls, third.partition, third.offset + 1)
    await subscription.close()
    await stream.close()

    again = await (await storage.open()).subscribe([storage.calls], "readers", Start.EARLIEST)

    assert [got.value for got in await read(again, 7)] == [b"%d" % n for n in range(3, 10)]


async def test_what_was_fetched_but_not_settled_comes_again(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(3))
    subscription = await stream.subscribe([storage.calls], "readers", Start.EARLIEST)
    await read(subscription, 3)
    await subscription.close()

    again = await stream.subscribe([storage.calls], "readers", Start.EARLIEST)

    assert len(await read(again, 3)) == 3


async def test_partitions_settle_each_for_itself(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.spread(64))
    subscription = await stream.subscribe([storage.calls], "readers", Start.EARLIEST)
    found = await read(subscription, 64)
    done = [got for got in found if got.partition != 0]
    ends = {got.partition: got.offset + 1 for got in done}
    async with asyncio.TaskGroup() as group:
        for partition, following in ends.items():
            group.create_task(subscription.settle(storage.calls, partition, following))
    await subscription.close()

    again = await stream.subscribe([storage.calls], "readers", Start.EARLIEST)

    left = await read(again, 64 - len(done))
    assert {got.partition for got in left} == {0}
    assert await again.fetch(10, 0.05) == []


async def test_groups_do_not_know_of_each_other(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(2))
    ahead = await stream.subscribe([storage.calls], "ahead", Start.EARLIEST)
    behind = await stream.subscribe([storage.calls], "behind", Start.EARLIEST)

    for got in await read(ahead, 2):
        await ahead.settle(storage.calls, got.partition, got.offset + 1)

    assert len(await read(behind, 2)) == 2


async def test_without_a_group_nothing_is_remembered(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(2))
    subscription = await stream.subscribe([storage.calls], None, Start.EARLIEST)
    for got in await read(subscription, 2):
        await subscription.settle(storage.calls, got.partition, got.offset + 1)
    await subscription.close()

    assert len(await storage.read_topic(stream, 2)) == 2


@pytest.mark.parametrize("group", [None, "newcomers"])
async def test_latest_begins_with_what_comes_after_subscribing(
    storage: Storage, group: str | None
) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(3))
    subscription = await stream.subscribe([storage.calls], group, Start.LATEST)

    await append(stream, storage.numbered(1, start=3))

    assert [got.value for got in await read(subscription, 1)] == [b"3"]


async def test_a_settled_group_resumes_there_even_when_told_to_begin_at_the_latest(
    storage: Storage,
) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(1))
    subscription = await stream.subscribe([storage.calls], "readers", Start.EARLIEST)
    (got,) = await read(subscription, 1)
    await subscription.settle(storage.calls, got.partition, got.offset + 1)
    await subscription.close()
    await append(stream, storage.numbered(2, start=1))

    again = await stream.subscribe([storage.calls], "readers", Start.LATEST)

    assert [got.value for got in await read(again, 2)] == [b"1", b"2"]


async def test_one_subscription_reads_several_topics(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, [storage.record(), storage.record(topic=storage.other)])

    found = await storage.read_topic(stream, 2, topics=[storage.calls, storage.other])

    assert {got.topic for got in found} == {storage.calls, storage.other}


async def test_subscribing_to_a_missing_topic_says_so(storage: Storage) -> None:
    stream = await storage.open()

    with pytest.raises(TopicMissing, match=storage.absent):
        await stream.subscribe([storage.calls, storage.absent], None, Start.EARLIEST)


@pytest.mark.e2e
async def test_a_null_key_or_value_of_a_foreign_producer_comes_back_as_none(
    kafka_storage: Storage,
) -> None:
    stream = await kafka_storage.open()
    await append_foreign(kafka_storage.calls, None, b"value")
    await append_foreign(kafka_storage.calls, b"key", None)

    found = await kafka_storage.read_topic(stream, 2)

    assert {(got.key, got.value) for got in found} == {(None, b"value"), (b"key", None)}
