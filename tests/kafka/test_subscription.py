"""Reading: resumed by group, shared between consumers, and free."""

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


async def test_a_group_resumes_behind_what_it_settled(kafka_server: KafkaServer) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka:
        await kafka.create([spec(topic, partitions=1)])
        await kafka.append([record(topic, b"%d" % n) for n in range(5)])
        first = await kafka.subscribe([topic], topic, Start.EARLIEST)
        found = await take(first, 4)
        assert [it.value for it in found] == [b"0", b"1", b"2", b"3"]
        await first.settle(topic, 0, 2)
        await first.close()
        second = await kafka.subscribe([topic], topic, Start.EARLIEST)
        assert [it.value for it in await take(second, 3)] == [b"2", b"3", b"4"]
        assert await second.fetch(10, 0.05) == []
        await second.close()


async def test_latest_means_from_the_moment_of_subscribing(kafka_server: KafkaServer) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka:
        await kafka.create([spec(topic, partitions=2)])
        await kafka.append([record(topic, b"old", b"%d" % n) for n in range(10)])
        free = await kafka.subscribe([topic], None, Start.LATEST)
        group = await kafka.subscribe([topic], topic, Start.LATEST)
        await kafka.append([record(topic, b"new")])
        assert [it.value for it in await take(free, 1)] == [b"new"]
        assert [it.value for it in await take(group, 1)] == [b"new"]
        # Nothing was settled, and still the next consumer must not skip what came since.
        await group.close()
        group = await kafka.subscribe([topic], topic, Start.LATEST)
        assert [it.value for it in await take(group, 1)] == [b"new"]
        await group.close()
        await free.settle(topic, 0, 1)
        await free.close()


async def test_two_consumers_of_a_group_share_the_partitions_and_inherit_them(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka:
        await kafka.create([spec(topic, partitions=4)])
        one = await kafka.subscribe([topic], topic, Start.EARLIEST)
        # Joining waits until the first gives up what it has, which it does in the background.
        two = await kafka.subscribe([topic], topic, Start.EARLIEST)
        await kafka.append([record(topic, b"%d" % n, b"%d" % n) for n in range(40)])
        seen: dict[str, list[Delivery]] = {"one": [], "two": []}
        deadline = time.monotonic() + 20
        while len(seen["one"]) + len(seen["two"]) < 40 and time.monotonic() < deadline:
            seen["one"] += await one.fetch(100, 0.1)
            seen["two"] += await two.fetch(100, 0.1)
        parts = {name: {it.partition for it in found} for name, found in seen.items()}
        assert parts["one"] | parts["two"] == {0, 1, 2, 3}
        assert not parts["one"] & parts["two"]
        for it in seen["two"]:
            await two.settle(it.topic, it.partition, it.offset + 1)
        await one.close()
        # What the first had settled nothing of comes again, and nothing else does.
        moved = await take(two, len(seen["one"]))
        assert {it.value for it in moved} == {it.value for it in seen["one"]}
        assert await two.fetch(10, 0.05) == []
        await two.close()


async def test_what_was_not_delivered_under_this_assignment_cannot_be_settled(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka:
        await kafka.create([spec(topic, partitions=1)])
        await kafka.append([record(topic, b"1")])
        subscription = await kafka.subscribe([topic], topic, Start.EARLIEST)
        with pytest.raises(StreamUnavailable, match="another consumer"):
            await subscription.settle(topic, 0, 1)
        await take(subscription, 1)
        await subscription.settle(topic, 0, 1)
        await subscription.close()


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
        subscription = await kafka.subscribe([topic], None, Start.EARLIEST)
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
        subscription = await kafka.subscribe([topic], None, Start.LATEST)
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
        for group in (None, "g"):
            async with asyncio.timeout(5):
                with pytest.raises(TopicMissing, match="nowhere"):
                    await kafka.subscribe(["nowhere"], group, Start.EARLIEST)
