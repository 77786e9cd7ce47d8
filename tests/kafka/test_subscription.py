"""Free reading."""

import asyncio
import time

import pytest
from aiokafka.admin import NewPartitions

from tests.kafka.scene import SETTINGS, new_topic, record, spec, stream, until
from tests.kafka_server import KafkaServer
from trunkline.clock import ManualClock
from trunkline.errors import StreamUnavailable, TopicMissing
from trunkline.stream import Delivery, Start, Subscription
from trunkline.stream.kafka import KafkaStream

pytestmark = pytest.mark.e2e


async def take(subscription: Subscription, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    deadline = time.monotonic() + 20
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count}"
        found += await subscription.fetch(count - len(found), 0.2)
    return found


async def test_latest_means_from_the_moment_of_subscribing(kafka_server: KafkaServer) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka:
        await kafka.create([spec(topic, partitions=2)])
        await kafka.append([record(topic, b"old", b"%d" % n) for n in range(10)])
        free = await kafka.subscribe([topic], Start.LATEST)
        await kafka.append([record(topic, b"new")])
        assert [it.value for it in await take(free, 1)] == [b"new"]
        await free.close()


async def test_foreign_records_without_key_or_value_pass_through(kafka_server: KafkaServer) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka:
        await kafka.create([spec(topic, partitions=1)])
        await kafka.append([record(topic, b"")])
        supervisor = kafka._supervisor
        assert supervisor.producer is not None
        foreign = supervisor.producer._producer
        await foreign.send_and_wait(topic, value=None, key=b"tombstone")
        await foreign.send_and_wait(topic, value=b"no key", key=None)
        subscription = await kafka.subscribe([topic], Start.EARLIEST)
        found = await take(subscription, 3)
        assert [(it.key, it.value) for it in found] == [
            (b"key", b""),
            (b"tombstone", None),
            (None, b"no key"),
        ]
        await subscription.close()


async def test_new_partitions_are_read_from_their_beginning_within_a_minute(
    kafka_server: KafkaServer,
) -> None:
    topic, clock = new_topic(), ManualClock()
    async with KafkaStream(kafka_server.url, SETTINGS, clock) as kafka:
        await kafka.create([spec(topic, partitions=1)])
        await kafka.append([record(topic, b"old")])
        subscription = await kafka.subscribe([topic], Start.LATEST)
        assert await subscription.fetch(10, 0.01) == []
        async with kafka._admin._admin() as admin:
            await admin.start()
            await admin.create_partitions({topic: NewPartitions(3)})

        async def appended() -> None:
            producer = kafka._supervisor.producer
            assert producer is not None
            await producer._producer.client.force_metadata_update()
            if len(producer._places[topic]) < 3:
                raise StreamUnavailable("not yet")

        await until(5, appended)
        values = [b"%d" % n for n in range(20)]
        assert await kafka.append([record(topic, it, it) for it in values]) == [None] * 20
        clock.advance(31)
        # A poll of the old partitions may be under way still; the next one sees the new.
        found = [it for _ in range(3) for it in await subscription.fetch(100, 0.3)]
        while len(found) < 20:
            found += await take(subscription, 1)
        assert sorted(it.value or b"" for it in found) == sorted(values)
        assert {it.partition for it in found} == {0, 1, 2}
        await subscription.close()


async def test_subscribing_to_a_missing_topic_names_it(kafka_server: KafkaServer) -> None:
    async with stream(kafka_server.url) as kafka:
        async with asyncio.timeout(5):
            with pytest.raises(TopicMissing, match="nowhere"):
                await kafka.subscribe(["nowhere"], Start.EARLIEST)
