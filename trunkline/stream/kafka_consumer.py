"""Opening and closing aiokafka's consumer with its traps closed."""

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from trunkline.stream.kafka_metadata import KafkaMetadata
from trunkline.stream.kafka_producer import finish
from trunkline.stream.kafka_url import Connecting

# Chosen for failover: a consumer that was killed is replaced in about the session timeout.
SESSION_MS = 6_000
HEARTBEAT_MS = 1_000
REBALANCE_MS = 8_000
# Joining may take the others a whole rebalance; the request must outlive it.
REQUEST_SECONDS_MIN = 15.0
# A member may have everything held back for as long as its work takes; whether it gets on is for
# its own watchdog to say. Past this, aiokafka would leave the group without asking.
POLL_INTERVAL_MS = 86_400_000
METADATA_AGE_MS = 30_000
PARTITION_BYTES = 1_048_576


def open_consumer(
    connecting: Connecting, request_seconds: float, group: str | None
) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        group_id=group,
        # What is delivered is not done.
        enable_auto_commit=False,
        # Partitions that appear later are new as a whole, and what retention removed must not
        # become a leap over what is left.
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        rebalance_timeout_ms=REBALANCE_MS,
        max_poll_interval_ms=POLL_INTERVAL_MS,
        # A class of its own: what a member holds is kept on the class, and would be claimed by
        # every other consumer of this process, whatever its group.
        partition_assignment_strategy=(type("Sticky", (StickyPartitionAssignor,), {}),),
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


async def stop_consumer(consumer: AIOKafkaConsumer, seconds: float) -> None:
    """Leaves the group if the brokers answer; lets go of everything in any case."""
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait({stopping}, timeout=seconds)
    if not stopping.done():
        # Private: it waits for an answer, and without its connections it knows that none comes.
        await finish(consumer._client.close(), seconds)  # noqa: SLF001
        await asyncio.wait({stopping}, timeout=seconds)
    await finish(stopping, 0)
