"""Topics compared with what they should be, created when missing, never changed."""

from dataclasses import replace

import pytest

from tests.kafka.scene import new_topic, record, spec, stream
from tests.kafka_server import KafkaServer
from trunkline.errors import Misconfigured, TopicMissing
from trunkline.stream import TopicState

pytestmark = pytest.mark.e2e


async def test_a_missing_topic_is_created_as_specified_and_then_does_not_differ(
    kafka_server: KafkaServer,
) -> None:
    plain = spec(new_topic(), partitions=3)
    compacted = replace(spec(new_topic()), compacted=True)
    async with stream(kafka_server.url) as kafka:
        assert await kafka.inspect([plain, compacted]) == [
            TopicState(plain.name, exists=False, differences=()),
            TopicState(compacted.name, exists=False, differences=()),
        ]
        await kafka.create([plain, compacted])
        assert await kafka.inspect([plain, compacted]) == [
            TopicState(plain.name, exists=True, differences=()),
            TopicState(compacted.name, exists=True, differences=()),
        ]


async def test_every_difference_is_one_sentence_and_create_changes_nothing(
    kafka_server: KafkaServer,
) -> None:
    existing = spec(new_topic(), partitions=3)
    wanted = replace(
        existing,
        partitions=4,
        replicas=3,
        in_sync_replicas_min=2,
        retention_ms=1_000,
        record_bytes_max=1_500_000,
    )
    async with stream(kafka_server.url) as kafka:
        await kafka.create([existing])
        await kafka.create([wanted])
        (state,) = await kafka.inspect([wanted])
        assert state.exists
        assert set(state.differences) == {
            "partitions is 3, should be 4",
            "replicas is 1, should be 3",
            "min.insync.replicas is 1, should be 2",
            "retention.ms is 86400000, should be 1000",
            "max.message.bytes is 2097152, should be 1500000",
        }
        (state,) = await kafka.inspect([replace(existing, compacted=True)])
        assert state.differences == ("cleanup.policy is delete, should be compact",)
        (state,) = await kafka.inspect([existing])
        assert state.differences == ()


async def test_more_replicas_than_brokers_names_the_setting(kafka_server: KafkaServer) -> None:
    async with stream(kafka_server.url) as kafka:
        with pytest.raises(Misconfigured) as caught:
            await kafka.create([spec(new_topic(), replicas=3)])
    assert caught.value.setting == "topics.replicas"


async def test_an_impossible_topic_name_names_the_setting(kafka_server: KafkaServer) -> None:
    async with stream(kafka_server.url) as kafka:
        with pytest.raises(Misconfigured) as caught:
            await kafka.create([spec("no spaces allowed")])
    assert caught.value.setting == "topics.prefix"


async def test_ends_are_the_first_offset_kept_and_the_next_to_be_written(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka:
        await kafka.create([spec(topic, partitions=1)])
        assert await kafka.ends([topic]) == {(topic, 0): (0, 0)}
        await kafka.append([record(topic, b"1"), record(topic, b"2")])
        assert await kafka.ends([topic]) == {(topic, 0): (0, 2)}
        with pytest.raises(TopicMissing, match="nowhere"):
            await kafka.ends(["nowhere"])
