"""Opening and closing aiokafka's consumer with its traps closed, and where a group begins."""

import asyncio
import contextlib
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import CommitFailedError

from trunkline.stream.kafka_errors import FOREIGN, translate
from trunkline.stream.kafka_metadata import KafkaMetadata
from trunkline.stream.kafka_producer import finish
from trunkline.stream.kafka_url import Connecting

# Chosen for failover: a consumer that was killed is replaced in about the session timeout.
SESSION_MS = 6_000
HEARTBEAT_MS = 1_000
REBALANCE_MS = 8_000
# Joining may take the others a whole rebalance; the request must outlive it.
REQUEST_SECONDS_MIN = 15.0
METADATA_AGE_MS = 30_000
PARTITION_BYTES = 1_048_576


def open_consumer(
    connecting: Connecting, request_seconds: float, group: str | None
) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        group_id=group,
        # What is delivered is not done: only settle() commits.
        enable_auto_commit=False,
        # Also where Start.LATEST was asked for: partitions that appear later are new as a whole,
        # and what retention removed must not become a leap over what is left.
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        rebalance_timeout_ms=REBALANCE_MS,
        partition_assignment_strategy=(StickyPartitionAssignor,),
        max_partition_fetch_bytes=PARTITION_BYTES,
        metadata_max_age_ms=METADATA_AGE_MS,
        request_timeout_ms=int(max(request_seconds, REQUEST_SECONDS_MIN) * 1000),
        **connecting.options(),
    )


async def all_places(metadata: KafkaMetadata, topics: Sequence[str]) -> list[TopicPartition]:
    answer = await metadata.require(topics)
    return [
        TopicPartition(topic, partition)
        for topic in topics
        for partition in range(len(answer.topics[topic].leaders))
    ]


async def begin_at_ends(
    connecting: Connecting, request_seconds: float, places: list[TopicPartition], group: str
) -> None:
    """Note the present ends as settled where the group has settled nothing.

    Kafka's own `latest` would be applied again by each consumer that inherits an untouched
    partition, and skip what came in between.
    """
    consumer = open_consumer(connecting, request_seconds, group)
    consumer.assign(places)
    try:
        async with asyncio.timeout(request_seconds + REQUEST_SECONDS_MIN):
            await consumer.start()
            ends = await consumer.end_offsets(places)
            fresh = {it: ends[it] for it in places if await consumer.committed(it) is None}
            # Refused while the group has members: then they have done this already.
            with contextlib.suppress(CommitFailedError):
                if fresh:
                    await consumer.commit(fresh)
    except FOREIGN as error:
        raise translate(error, f"opening the group {group}") from None
    finally:
        await stop_consumer(consumer, request_seconds)


async def stop_consumer(consumer: AIOKafkaConsumer, seconds: float) -> None:
    """Leaves the group if the brokers answer; lets go of everything in any case."""
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait({stopping}, timeout=seconds)
    if not stopping.done():
        # Private: it waits for an answer, and without its connections it knows that none comes.
        await finish(consumer._client.close(), seconds)  # noqa: SLF001
        await asyncio.wait({stopping}, timeout=seconds)
    await finish(stopping, 0)
