"""What outlives a MemoryStream: records, groups and their marks; and ways to spoil them."""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trunkline.errors import RecordRefused, StreamError, TopicMissing
from trunkline.stream import Delivery, Mark, Place, Record, TopicSpec
from trunkline.stream.embedded_topic import missing, partition_of, too_large

if TYPE_CHECKING:
    from trunkline.stream.memory_group import MemoryGroup, MemoryMembership


@dataclass(slots=True)
class MemoryStorage:
    """Hand it to the next stream to open the same records again."""

    topics: dict[str, TopicSpec] = field(default_factory=dict)
    logs: dict[Place, list[Delivery]] = field(default_factory=dict)
    ends: dict[Place, tuple[int, int]] = field(default_factory=dict)  # first kept, next written
    marks: dict[tuple[str, Place], Mark] = field(default_factory=dict)
    groups: dict[str, "MemoryGroup"] = field(default_factory=dict)
    listeners: set[asyncio.Event] = field(default_factory=set)
    revoke_seconds: float = 4.0  # how long a member may take to let go
    commit_failure: StreamError | None = None  # raised by every commit until it is taken away

    def add(self, spec: TopicSpec) -> None:
        if spec.name not in self.topics:
            self.topics[spec.name] = spec
            for partition in range(spec.partitions):
                self.logs[spec.name, partition] = []
                self.ends[spec.name, partition] = (0, 0)

    def places(self, topics: Sequence[str]) -> list[Place]:
        for topic in topics:
            if topic not in self.topics:
                raise TopicMissing(missing(topic))
        return [(name, part) for name in topics for part in range(self.topics[name].partitions)]

    def append(self, record: Record) -> StreamError | None:
        spec = self.topics.get(record.topic)
        if spec is None:
            return TopicMissing(missing(record.topic))
        size = len(record.key) + len(record.value)
        size += sum(len(name) + len(text) for name, text in record.headers)
        if size > spec.record_bytes_max:
            return RecordRefused(too_large(size, spec))
        place = record.topic, partition_of(record.key, spec.partitions)
        self.put(place, record.key, record.value, record.timestamp_ms, record.headers)
        return None

    def put(
        self,
        place: Place,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int = 0,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> int:
        """Append as any producer might, to a partition of its choice; returns the offset."""
        first, offset = self.ends[place]
        self.logs[place].append(Delivery(*place, offset, timestamp_ms, key, value, headers))
        self.ends[place] = first, offset + 1
        for listener in self.listeners:
            listener.set()
        return offset

    def read(self, place: Place, position: int, records_max: int) -> list[Delivery]:
        log = self.logs[place]
        at = bisect_left(log, position, key=lambda delivery: delivery.offset)
        return log[at : at + records_max]

    def mark(self, group: str, place: Place) -> Mark:
        """What the group committed, moved up to what is kept."""
        first = self.ends[place][0]
        mark = self.marks.get((group, place), Mark(first))
        return mark if mark.next_offset >= first else Mark(first)

    def skip(self, place: Place, offsets: int) -> None:
        """Leave a gap, as transactions and compaction do."""
        first, following = self.ends[place]
        self.ends[place] = first, following + offsets

    def forget(self, place: Place, before: int) -> None:
        """Drop the oldest records, as retention does."""
        self.logs[place] = self.read(place, before, len(self.logs[place]))
        self.ends[place] = before, max(before, self.ends[place][1])

    def kill(self, membership: "MemoryMembership") -> None:
        """As if its process had died, or was paused for so long that the group gave it up."""
        membership.die()
