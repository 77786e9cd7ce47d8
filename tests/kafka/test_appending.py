"""Appending to a healthy broker, and what it refuses."""

import asyncio
import time

import pytest

from tests.kafka.scene import dump, new_topic, record, spec, stream, until, until_unavailable
from tests.kafka_server import KafkaServer
from trunkline.errors import RecordRefused, StreamUnavailable, TopicMissing
from trunkline.stream import Record, TopicSpec
from trunkline.stream.kafka_limits import BatchLimits
from trunkline.stream.kafka_partitions import key_hash

pytestmark = pytest.mark.e2e


async def test_records_come_back_byte_for_byte_in_the_partition_of_their_key(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url, [topic]) as kafka:
        await kafka.create([spec(topic, partitions=5)])
        headers = (("ce_id", b"1"), ("twice", b""), ("twice", bytes(range(256))))
        now = int(time.time() * 1000)
        records = [
            Record(topic, b"key %d" % (n % 7), bytes([n, 0, 255]), headers, now + n)
            for n in range(50)
        ]
        assert await kafka.append(records) == [None] * 50
        found = await dump(kafka, topic)
    assert len(found) == 50
    by_value = {it.value: it for it in found}
    for one in records:
        it = by_value[one.value]
        assert (it.key, it.headers, it.timestamp_ms) == (one.key, headers, one.timestamp_ms)
        assert it.partition == key_hash(one.key) % 5
    for partition in range(5):
        values = [it.value for it in found if it.partition == partition]
        assert values == sorted(values, key=lambda value: value[0] if value else 0)


async def test_a_record_of_a_million_bytes_is_taken_and_more_than_the_limit_is_refused(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url, [topic]) as kafka:
        await kafka.create([spec(topic)])
        records = [
            record(topic, bytes(1_000_000)),
            record(topic, bytes(3_000_000)),
            record(topic, b"small"),
            *(record(topic, bytes(1_000_000)) for _ in range(5)),
        ]
        results = await kafka.append(records)
        assert [type(result) for result in results] == [
            type(None),
            RecordRefused,
            *[type(None)] * 6,
        ]
        sizes = [len(it.value or b"") for it in await dump(kafka, topic)]
    assert sizes == [1_000_000, 5, *[1_000_000] * 5]


async def test_a_record_the_broker_finds_too_large_is_refused_and_harms_no_other(
    kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def learn(*_: object) -> None:
        """As where we may not ask for the limits of topics."""

    monkeypatch.setattr(BatchLimits, "learn", learn)
    narrow, other = new_topic(), new_topic()
    async with stream(kafka_server.url, [narrow, other]) as kafka:
        await kafka.create([TopicSpec(narrow, 1, 1, 1, 86_400_000, False, 10_000), spec(other)])  # noqa: FBT003
        assert await kafka.append([record(narrow, b"before")]) == [None]
        results = await kafka.append(
            [
                record(narrow, b"first"),
                record(narrow, bytes(20_000)),
                record(narrow, b"last"),
                record(other, b"elsewhere"),
            ]
        )
        assert [type(result) for result in results] == [
            type(None),
            RecordRefused,
            type(None),
            type(None),
        ]
        # The refusal left a hole in the sequence; a producer that went on would be refused for it.
        assert await kafka.append([record(narrow, b"after")]) == [None]
        values = [it.value for it in await dump(kafka, narrow)]
        assert values == [b"before", b"first", b"last", b"after"]
        assert [it.value for it in await dump(kafka, other)] == [b"elsewhere"]


async def test_many_small_records_that_are_too_much_for_one_batch_all_arrive(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url, [topic]) as kafka:
        await kafka.create([TopicSpec(topic, 1, 1, 1, 86_400_000, False, 5_000)])  # noqa: FBT003
        values = [b"%04d" % n + bytes(1_000) for n in range(20)]
        assert await kafka.append([record(topic, value) for value in values]) == [None] * 20
        assert [it.value for it in await dump(kafka, topic)] == values


async def test_a_missing_topic_is_named_at_once_and_works_as_soon_as_it_exists(
    kafka_server: KafkaServer,
) -> None:
    there, missing = new_topic(), new_topic()
    async with stream(kafka_server.url, [there, missing]) as kafka:
        await kafka.create([spec(there)])
        with pytest.raises(TopicMissing, match=missing):
            await kafka.check()
        async with asyncio.timeout(1.5):
            lost, kept = await kafka.append([record(missing, b"1"), record(there, b"2")])
        assert isinstance(lost, TopicMissing)
        assert missing in str(lost)
        assert kept is None
        await kafka.create([spec(missing)])

        async def appended() -> None:
            (result,) = await kafka.append([record(missing, b"3")])
            if result is not None:
                raise result

        await until(3, appended)
        await kafka.check()
        assert [it.value for it in await dump(kafka, missing)] == [b"3"]


async def test_a_topic_deleted_under_the_producer_is_missing_and_others_live_on(
    kafka_server: KafkaServer,
) -> None:
    doomed, other = new_topic(), new_topic()
    async with stream(kafka_server.url, [doomed, other]) as kafka:
        await kafka.create([spec(doomed), spec(other)])
        assert await kafka.append([record(doomed, b"1"), record(other, b"1")]) == [None, None]
        async with kafka._admin._admin() as admin:
            await admin.start()
            await admin.delete_topics([doomed])
        async with asyncio.timeout(5):
            (lost,) = await kafka.append([record(doomed, b"2")])
        assert isinstance(lost, TopicMissing), lost
        assert isinstance(await until_unavailable(3, kafka), TopicMissing)
        assert await kafka.append([record(other, b"2")]) == [None]


async def test_lanes_name_the_leader_and_unknown_topics_have_none(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url, [topic]) as kafka:
        await kafka.create([spec(topic)])
        assert kafka.lane(record("nowhere", b"")) == -1
        await kafka.append([record(topic, b"")])
        assert kafka.lane(record(topic, b"")) == 1


async def test_a_sender_that_dies_fails_its_appends_and_is_replaced(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url, [topic]) as kafka:
        await kafka.create([spec(topic)])
        assert await kafka.append([record(topic, b"1")]) == [None]
        dying = kafka._supervisor.producer
        assert dying is not None

        # Injected: an error aiokafka does not expect ends its sender task for good.
        async def broken(*_: object, **__: object) -> None:
            raise RuntimeError("injected")

        dying._producer.client.send = broken
        (result,) = await kafka.append([record(topic, b"2")])
        assert type(result) is StreamUnavailable
        assert await kafka.append([record(topic, b"3")]) == [None]
        assert kafka._supervisor.producer is not dying
        assert [it.value for it in await dump(kafka, topic)] == [b"1", b"3"]


async def test_a_producer_out_of_sequence_is_replaced(kafka_server: KafkaServer) -> None:
    topic = new_topic()
    async with stream(kafka_server.url, [topic]) as kafka:
        await kafka.create([spec(topic, partitions=1)])
        assert await kafka.append([record(topic, b"1")]) == [None]
        dying = kafka._supervisor.producer
        assert dying is not None
        # The hole is made by hand; that it is refused is the broker's own doing.
        (place,) = dying._places[topic]
        dying._producer._txn_manager.increment_sequence_number(place, 5)
        (result,) = await kafka.append([record(topic, b"2")])
        assert type(result) is StreamUnavailable
        assert "OutOfOrderSequenceNumber" in str(result)
        assert await kafka.append([record(topic, b"3")]) == [None]
        assert kafka._supervisor.producer is not dying


async def test_appends_that_cross_in_the_same_partition_all_arrive_in_their_order(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url, [topic]) as kafka:
        await kafka.create([spec(topic, partitions=1)])
        appends = [
            kafka.append([record(topic, b"%d %d" % (n, m)) for m in range(3)]) for n in range(20)
        ]
        assert await asyncio.gather(*appends) == [[None] * 3] * 20
        values = [it.value or b"" for it in await dump(kafka, topic)]
    assert len(values) == 60
    for n in range(20):
        assert [value for value in values if value.startswith(b"%d " % n)] == [
            b"%d %d" % (n, m) for m in range(3)
        ]


async def test_after_close_everything_is_unavailable_and_closing_twice_is_harmless(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    kafka = stream(kafka_server.url, [topic])
    await kafka.start()
    await kafka.create([spec(topic)])
    await kafka.close()
    await kafka.close()
    (result,) = await kafka.append([record(topic, b"")])
    assert type(result) is StreamUnavailable
    with pytest.raises(StreamUnavailable, match="closed"):
        await kafka.check()
