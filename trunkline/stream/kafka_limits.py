"""The largest batch each topic takes: what the brokers say, or else our own setting."""

from collections.abc import Collection, Iterable
from typing import Any

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.protocol.admin import DescribeConfigsRequest

from trunkline.errors import StreamUnavailable
from trunkline.stream.kafka_metadata import KafkaMetadata

ENTRY = "max.message.bytes"


class BatchLimits:
    """Outlives producers: a refusal for size ends one, and its successor must not repeat it."""

    def __init__(self, metadata: KafkaMetadata, bytes_max: int) -> None:
        self._metadata = metadata
        self._bytes_max = bytes_max
        self._known: dict[str, int] = {}

    def of(self, topic: str) -> int:
        return self._known.get(topic, self._bytes_max)

    async def learn(self, topics: Collection[str]) -> None:
        """Never fails: where no broker answers, what was learnt before stays in force."""
        if not topics:
            return
        names = [ENTRY]
        asked = [(ConfigResourceType.TOPIC, topic, names) for topic in topics]
        try:
            responses = await self._metadata.send(DescribeConfigsRequest(asked))
        except StreamUnavailable:
            return
        if responses:
            # What is not told, as we may not ask or there is no such topic, is not known any more.
            kept = {it: limit for it, limit in self._known.items() if it not in topics}
            told = batch_limits(responses)
            self._known = kept | {it: min(told[it], self._bytes_max) for it in told}


def batch_limits(responses: Iterable[Any]) -> dict[str, int]:
    """Where brokers differ, as those of unlike defaults do, the least holds for all."""
    found: dict[str, int] = {}
    for response in responses:
        for code, _, _, topic, entries in response.resources:
            for name, value, *_ in () if code else entries:
                if name == ENTRY and value:
                    found[topic] = min(int(value), found.get(topic, int(value)))
    return found
