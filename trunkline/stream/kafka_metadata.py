"""What the brokers say now about topics and leaders, asked over connections of its own.

Not over the producer's: a broker answers each connection in order, and a produce request that
waits for replicas would hold every question behind it.
"""

import asyncio
import contextlib
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaClient
from aiokafka.protocol.metadata import MetadataRequest

from trunkline.errors import StreamUnavailable, TopicMissing
from trunkline.stream.kafka_errors import FOREIGN, explain
from trunkline.stream.kafka_url import Connecting

NO_LEADER = -1
FIRST_BROKERS = 3


@dataclass(frozen=True, slots=True)
class TopicLayout:
    leaders: tuple[int, ...]
    replicas: int


@dataclass(frozen=True, slots=True)
class Answer:
    """`live` are the brokers that answered; a topic nobody knows is absent."""

    live: frozenset[int]
    topics: Mapping[str, TopicLayout]


class KafkaMetadata:
    def __init__(self, connecting: Connecting, request_seconds: float) -> None:
        self._connecting = connecting
        self._seconds = request_seconds
        self._client: AIOKafkaClient | None = None
        self._lock = asyncio.Lock()

    async def ask(self, topics: Collection[str]) -> Answer:
        """Ask some brokers, then every leader among the rest. Raises StreamUnavailable."""
        client = await self._connected()
        known = [broker.nodeId for broker in client.cluster.brokers()]
        first = random.sample(known, min(FIRST_BROKERS, len(known)))
        responses = await self._ask_all(client, first, topics)
        if not responses and len(known) > len(first):
            first = known
            responses = await self._ask_all(client, known, topics)
        if not responses:
            await self.close()
            raise StreamUnavailable(f"no broker answers: {await self._why()}")
        leaders = {
            leader for topic in layouts(responses.values()).values() for leader in topic.leaders
        }
        rest = leaders - {NO_LEADER, *first}
        responses |= await self._ask_all(client, rest, topics)
        return Answer(frozenset(responses), layouts(responses.values()))

    async def require(self, topics: Collection[str]) -> Answer:
        """As ask, and raise TopicMissing unless all topics exist."""
        answer = await self.ask(topics)
        refuse_missing(topics, answer)
        return answer

    async def send(self, request: Any) -> list[Any]:
        """What some brokers answer to a question for any of them. Raises StreamUnavailable."""
        client = await self._connected()
        known = [broker.nodeId for broker in client.cluster.brokers()]
        some = random.sample(known, min(FIRST_BROKERS, len(known)))
        answers = await asyncio.gather(*(self._send(client, node, request) for node in some))
        return [answer for answer in answers if answer is not None]

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            # Only connections are let go; what they still wanted to say is of no interest.
            with contextlib.suppress(*FOREIGN):
                await asyncio.wait_for(client.close(), self._seconds)

    async def _connected(self) -> AIOKafkaClient:
        async with self._lock:
            if self._client is None:
                client = AIOKafkaClient(
                    request_timeout_ms=int(self._seconds * 1000), **self._connecting.options()
                )
                try:
                    await asyncio.wait_for(client.bootstrap(), 2 * self._seconds)
                except FOREIGN:
                    await client.close()
                    raise StreamUnavailable(f"no broker answers: {await self._why()}") from None
                self._client = client
            return self._client

    async def _ask_all(
        self, client: AIOKafkaClient, nodes: Iterable[object], topics: Collection[str]
    ) -> dict[int, Any]:
        asked = list(nodes)
        answers = await asyncio.gather(*(self._ask_one(client, node, topics) for node in asked))
        return {node: it for node, it in zip(asked, answers, strict=True) if it is not None}  # type: ignore[misc]

    async def _ask_one(
        self, client: AIOKafkaClient, node: object, topics: Collection[str]
    ) -> Any | None:
        # Without the flag a cluster with automatic creation would invent topics of its own shape.
        request = MetadataRequest(list(topics), allow_auto_topic_creation=False)
        response = await self._send(client, node, request)
        if response is not None:
            client.cluster.update_metadata(response)
        return response

    async def _send(self, client: AIOKafkaClient, node: object, request: Any) -> Any | None:
        try:
            async with asyncio.timeout(self._seconds):
                return await client.send(node, request)
        except FOREIGN:
            return None

    async def _why(self) -> str:
        return await explain(self._connecting.options(), self._seconds)


def layouts(responses: Iterable[Any]) -> dict[str, TopicLayout]:
    """Brokers learn of a topic one after the other: what one of them knows counts."""
    found: dict[str, TopicLayout] = {}
    for response in responses:
        for topic in response.to_object()["topics"]:
            if topic["error_code"] == 0:
                partitions = sorted(topic["partitions"], key=lambda it: it["partition"])
                found[topic["topic"]] = TopicLayout(
                    tuple(partition["leader"] for partition in partitions),
                    max((len(partition["replicas"]) for partition in partitions), default=0),
                )
    return found


def refuse_missing(topics: Collection[str], answer: Answer) -> None:
    missing = sorted(set(topics) - answer.topics.keys())
    if missing:
        raise TopicMissing(
            f"no such topic: {', '.join(missing)}; `trunkline topics apply` creates them"
        )


def refuse_leaderless(topics: Sequence[str], answer: Answer) -> None:
    """A topic of which some partitions can be appended to is not out of order."""
    stuck = [topic for topic in topics if answer.live.isdisjoint(answer.topics[topic].leaders)]
    if stuck:
        raise StreamUnavailable(f"no broker that leads {', '.join(stuck)} answers")
