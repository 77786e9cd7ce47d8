"""Three brokers: too few replicas left, and a leader that dies."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka.scene import Writer, dump, new_topic, record, spec, stream, until
from tests.kafka_server import KafkaCluster
from trunkline.errors import StreamUnavailable

pytestmark = pytest.mark.e2e


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KafkaCluster]:
    with KafkaCluster(tmp_path / "kafka") as brokers:
        yield brokers


async def test_the_leaders_death_interrupts_appends_for_seconds_and_loses_none_that_was_acked(
    cluster: KafkaCluster,
) -> None:
    topic = new_topic()
    async with stream(cluster.url, [topic]) as kafka:
        await until(20, lambda: kafka.create([spec(topic, 6, replicas=3, in_sync=2)]))
        writer = Writer(kafka, topic)
        running = asyncio.create_task(writer.run())
        for _ in range(2):
            await writer.more(500, 20)
            leader = kafka.lane(record(topic, b"", b"1"))
            cluster.servers[leader].kill()
            # All six partitions, so also those that the dead broker led.
            await writer.more(500, 30)
            assert kafka.lane(record(topic, b"", b"1")) != leader
            await until(10, kafka.check)
            await asyncio.to_thread(cluster.servers[leader].restart)
        writer.stop()
        await running
        values = [it.value for it in await dump(kafka, topic)]
    assert writer.acked <= set(values)


async def test_without_enough_replicas_nothing_is_acked_until_they_are_back(
    cluster: KafkaCluster,
) -> None:
    topic = new_topic()
    async with stream(cluster.url, [topic]) as kafka:
        await until(20, lambda: kafka.create([spec(topic, 1, replicas=3, in_sync=2)]))
        assert await kafka.append([record(topic, b"before")]) == [None]
        leader = kafka.lane(record(topic, b""))
        others = [server for node, server in cluster.servers.items() if node != leader]
        for server in others:
            server.kill()
        appending = asyncio.create_task(kafka.append([record(topic, b"meanwhile")]))
        done, _ = await asyncio.wait({appending}, timeout=8)
        assert not done, "two replicas are demanded and one is alive"
        with pytest.raises(StreamUnavailable):
            await kafka.check()
        for server in others:
            server.launch()
        async with asyncio.timeout(40):
            assert await appending == [None]
        await until(10, kafka.check)
        values = [it.value for it in await dump(kafka, topic)]
    assert values == [b"before", b"meanwhile"]
