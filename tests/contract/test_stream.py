"""What every stream must do, whatever it is made of: appending, and its own life."""

import asyncio
import os

import pytest

from tests.contract.words import PATIENCE_SECONDS, RECORD_BYTES_MAX, Storage, append, spec
from trunkline.errors import RecordRefused, StreamUnavailable, TopicMissing
from trunkline.stream import Headers, Start

HEADERS: Headers = (
    ("ce_id", b"1"),
    ("twice", b"a"),
    ("twice", b"b"),
    ("empty", b""),
    ("größe", "über".encode()),
    ("octets", bytes(range(256))),
)


async def test_bytes_headers_and_timestamp_come_back_exactly(storage: Storage) -> None:
    stream = await storage.open()
    sent = storage.record(
        b"\x00key\xff", bytes(range(256)), headers=HEADERS, timestamp_ms=1_234_567
    )

    await append(stream, [sent])

    (got,) = await storage.read_topic(stream, 1)
    assert (got.topic, got.key, got.value) == (sent.topic, sent.key, sent.value)
    assert (got.headers, got.timestamp_ms) == (HEADERS, 1_234_567)


async def test_empty_keys_values_and_headers_are_not_null(storage: Storage) -> None:
    stream = await storage.open()

    await append(stream, [storage.record(b"", b"")])

    (got,) = await storage.read_topic(stream, 1)
    assert (got.key, got.value, got.headers) == (b"", b"", ())


async def test_a_million_bytes_come_back_exactly(storage: Storage) -> None:
    stream = await storage.open()
    value = os.urandom(1_000_000)

    await append(stream, [storage.record(value=value)])

    (got,) = await storage.read_topic(stream, 1)
    assert got.value == value


async def test_records_far_beyond_one_fetch_all_come_back(storage: Storage) -> None:
    stream = await storage.open()
    values = [os.urandom(700_000) for _ in range(20)]

    for value in values:
        await append(stream, [storage.record(value=value)])

    assert [got.value for got in await storage.read_topic(stream, 20)] == values


async def test_a_result_of_none_means_another_stream_sees_the_record(
    storage: Storage,
) -> None:
    writer, reader = await storage.open(), await storage.open()

    for number in range(5):
        await append(writer, storage.numbered(1, start=number))

        assert len(await storage.read_topic(reader, number + 1)) == number + 1


async def test_an_append_of_nothing_is_answered_with_nothing(storage: Storage) -> None:
    stream = await storage.open()

    assert await stream.append([]) == []


async def test_a_batch_keeps_its_order_per_key(storage: Storage) -> None:
    stream = await storage.open()
    batch = [storage.record(b"key-%d" % (n % 7), b"%d" % n) for n in range(300)]

    await append(stream, batch)

    found = await storage.read_topic(stream, 300)
    for key in {item.key for item in batch}:
        expected = [item.value for item in batch if item.key == key]
        assert [got.value for got in found if got.key == key] == expected


async def test_appends_under_way_together_keep_the_order_in_which_they_were_made(
    storage: Storage,
) -> None:
    stream = await storage.open()

    async with asyncio.TaskGroup() as group:
        for start in range(0, 200, 5):
            group.create_task(append(stream, storage.numbered(5, start=start)))

    values = [got.value for got in await storage.read_topic(stream, 200)]
    assert values == [b"%d" % number for number in range(200)]


async def test_a_key_stays_on_its_partition_whoever_appends(storage: Storage) -> None:
    streams = [await storage.open(), await storage.open()]
    keys = [b"key-%d" % number for number in range(64)]

    for stream in streams:
        await append(stream, [storage.record(key) for key in keys])

    places: dict[bytes | None, set[int]] = {}
    for got in await storage.read_topic(streams[0], 128):
        places.setdefault(got.key, set()).add(got.partition)
    assert all(len(partitions) == 1 for partitions in places.values())
    assert len(set.union(*places.values())) == storage.specs[0].partitions


async def test_offsets_grow_within_each_partition_and_deliveries_follow_them(
    storage: Storage,
) -> None:
    first, second = await storage.open(), await storage.open()

    async with asyncio.TaskGroup() as group:
        for number in range(40):
            stream = (first, second)[number % 2]
            batch = [storage.record(b"key-%d" % (number * 3 + n)) for n in range(3)]
            group.create_task(append(stream, batch))

    offsets: dict[int, list[int]] = {}
    for got in await storage.read_topic(first, 120):
        offsets.setdefault(got.partition, []).append(got.offset)
    for found in offsets.values():
        assert found == sorted(set(found))


async def test_a_missing_topic_fails_its_own_records_only(storage: Storage) -> None:
    stream = await storage.open()
    batch = [
        storage.record(value=b"1"),
        storage.record(topic=storage.absent),
        storage.record(value=b"2"),
    ]

    results = await stream.append(batch)

    assert [type(result) for result in results] == [type(None), TopicMissing, type(None)]
    assert storage.absent in str(results[1])
    assert [got.value for got in await storage.read_topic(stream, 2)] == [b"1", b"2"]


async def test_a_topic_created_later_takes_records_without_a_restart(
    storage: Storage,
) -> None:
    stream, operator = await storage.open(), await storage.open()
    late = storage.record(topic=storage.absent)
    assert isinstance((await stream.append([late]))[0], TopicMissing)

    await operator.create([spec(late.topic)])

    # A broker tells its clients of new topics a little later.
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while (results := await stream.append([late])) != [None]:
        assert isinstance(results[0], TopicMissing)
        assert asyncio.get_running_loop().time() < deadline
    assert len(await storage.read_topic(stream, 1, topics=[late.topic])) == 1


async def test_a_record_too_large_is_refused_alone(storage: Storage) -> None:
    stream = await storage.open()
    batch = [
        storage.record(value=b"1"),
        storage.record(value=os.urandom(RECORD_BYTES_MAX * 2)),
        storage.record(value=b"2"),
    ]

    results = await stream.append(batch)

    assert [type(result) for result in results] == [type(None), RecordRefused, type(None)]
    assert [got.value for got in await storage.read_topic(stream, 2)] == [b"1", b"2"]


async def test_check_is_silent_while_appends_succeed(storage: Storage) -> None:
    stream = await storage.open()

    await stream.check()
    await append(stream, storage.numbered(1))
    await stream.check()


async def test_a_closed_stream_may_be_closed_again_and_takes_nothing(
    storage: Storage,
) -> None:
    stream = await storage.open()
    subscription = await stream.subscribe([storage.calls], Start.EARLIEST)
    await subscription.close()
    await subscription.close()

    await stream.close()
    await stream.close()

    (result,) = await stream.append(storage.numbered(1))
    assert isinstance(result, StreamUnavailable)
    with pytest.raises(StreamUnavailable):
        await stream.check()


async def test_closing_waits_for_appends_under_way(storage: Storage) -> None:
    stream = await storage.open()
    appending = [
        asyncio.create_task(stream.append(storage.numbered(1, start=n))) for n in range(20)
    ]
    await asyncio.sleep(0)

    await stream.close()

    results = [(await task)[0] for task in appending]
    landed = [b"%d" % number for number, result in enumerate(results) if result is None]
    found = {got.value for got in await storage.read_topic(await storage.open(), len(landed))}
    assert set(landed) <= found
