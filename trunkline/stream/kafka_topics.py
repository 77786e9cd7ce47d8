"""Topics as an administrator sees them: compared with their specs, created when missing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from trunkline.stream import Mark, Place, TopicSpec, TopicState
from trunkline.stream.kafka_consumer import all_places, stop_consumer
from trunkline.stream.kafka_errors import (
    FOREIGN,
    creation_failure,
    from_code,
    is_existing_topic,
    translate,
)
from trunkline.stream.kafka_metadata import KafkaMetadata, TopicLayout
from trunkline.stream.kafka_producer import finish
from trunkline.stream.kafka_url import Connecting

Configs = Mapping[str, str | None]
VISIBLE_POLL_SECONDS = 0.05


class KafkaTopics:
    def __init__(
        self, connecting: Connecting, request_seconds: float, metadata: KafkaMetadata
    ) -> None:
        self._connecting = connecting
        self._seconds = request_seconds
        self._metadata = metadata

    async def inspect(self, specs: Sequence[TopicSpec]) -> list[TopicState]:
        names = [spec.name for spec in specs]
        answer = await self._metadata.ask(names)
        existing = [name for name in names if name in answer.topics]
        configs = await self._configs(existing)
        return [compare(spec, answer.topics.get(spec.name), configs) for spec in specs]

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        """Raises Misconfigured where the brokers say that a setting is impossible."""
        answer = await self._metadata.ask([spec.name for spec in specs])
        missing = [spec for spec in specs if spec.name not in answer.topics]
        if not missing:
            return
        new = [
            NewTopic(spec.name, spec.partitions, spec.replicas, topic_configs=wanted(spec))
            for spec in missing
        ]
        response = await self._ask_admin("creating topics", lambda it: it.create_topics(new))
        for topic, code, *message in response.topic_errors:
            error = from_code(code, message[0] if message else None) if code else None
            if error is not None and not is_existing_topic(error):
                raise creation_failure(topic, error)
        await self._visible([spec.name for spec in missing])

    async def ends(self, topics: Sequence[str]) -> Mapping[tuple[str, int], tuple[int, int]]:
        places = await all_places(self._metadata, topics)
        # Not as a subscription reads: the next offset is that of records not yet committed, too.
        consumer = AIOKafkaConsumer(
            request_timeout_ms=int(self._seconds * 1000),
            enable_auto_commit=False,
            **self._connecting.options(),
        )
        try:
            async with asyncio.timeout(2 * self._seconds):
                await consumer.start()
                first = await consumer.beginning_offsets(places)
                following = await consumer.end_offsets(places)
        except FOREIGN as error:
            raise translate(error, "asking for offsets") from None
        finally:
            await stop_consumer(consumer, self._seconds)
        return {(it.topic, it.partition): (first[it], following[it]) for it in places}

    async def marks(self, topics: Sequence[str], group: str) -> Mapping[Place, Mark]:
        places = await all_places(self._metadata, topics)
        found = await self._ask_admin(
            f"asking for the marks of {group}",
            lambda it: it.list_consumer_group_offsets(group, partitions=places),
        )
        return {
            (place.topic, place.partition): Mark(committed.offset, committed.metadata or "")
            for place, committed in found.items()
            if committed.offset >= 0  # -1 stands for nothing committed
        }

    async def _visible(self, topics: Sequence[str]) -> None:
        """A created topic is not yet known to every broker, and has no leaders at first."""
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    answer = await self._metadata.ask(topics)
                    found = [answer.topics[topic] for topic in topics if topic in answer.topics]
                    if len(found) == len(topics) and all(-1 not in it.leaders for it in found):
                        return
                    await asyncio.sleep(VISIBLE_POLL_SECONDS)
        except TimeoutError as error:
            raise translate(error, f"waiting for leaders of {', '.join(topics)}") from None

    async def _configs(self, topics: Sequence[str]) -> dict[str, Configs]:
        if not topics:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
        responses = await self._ask_admin(
            "reading topic configurations", lambda it: it.describe_configs(resources)
        )
        found: dict[str, Configs] = {}
        for response in responses:
            for code, message, _, name, entries, *_ in response.resources:
                if code:
                    raise translate(from_code(code, message), f"reading {name}")
                found[name] = {entry[0]: entry[1] for entry in entries}
        return found

    async def _ask_admin(
        self, doing: str, question: Callable[[AIOKafkaAdminClient], Awaitable[Any]]
    ) -> Any:
        try:
            async with self._admin() as admin, asyncio.timeout(2 * self._seconds):
                await admin.start()
                return await question(admin)
        except FOREIGN as error:
            raise translate(error, doing) from None

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(
            request_timeout_ms=int(self._seconds * 1000), **self._connecting.options()
        )
        try:
            yield admin
        finally:
            await finish(admin.close(), self._seconds)


def wanted(spec: TopicSpec) -> dict[str, str]:
    """The configuration entries we care about; what is not named follows the brokers' defaults."""
    entries = {
        "cleanup.policy": "compact" if spec.compacted else "delete",
        "max.message.bytes": str(spec.record_bytes_max),
        "min.insync.replicas": str(spec.in_sync_replicas_min),
    }
    if not spec.compacted:
        entries["retention.ms"] = str(spec.retention_ms)
    return entries


def compare(
    spec: TopicSpec, layout: TopicLayout | None, configs: Mapping[str, Configs]
) -> TopicState:
    if layout is None:
        return TopicState(spec.name, exists=False, differences=())
    found: dict[str, str | None] = {
        "partitions": str(len(layout.leaders)),
        "replicas": str(layout.replicas),
        **configs.get(spec.name, {}),
    }
    expected = {
        "partitions": str(spec.partitions),
        "replicas": str(spec.replicas),
        **wanted(spec),
    }
    return TopicState(
        spec.name,
        exists=True,
        differences=tuple(
            f"{name} is {found.get(name)}, should be {value}"
            for name, value in expected.items()
            if found.get(name) != value
        ),
    )
