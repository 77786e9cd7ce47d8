"""Partitions as a broker keeps them: offsets with gaps, a start that retention moves."""

from bisect import bisect_left
from dataclasses import dataclass, field
from zlib import crc32

from trunkline.stream import Delivery, Headers, Place


@dataclass(slots=True)
class Log:
    records: list[Delivery] = field(default_factory=list)
    start: int = 0
    end: int = 0

    def read(self, position: int, records_max: int) -> list[Delivery]:
        at = bisect_left(self.records, position, key=lambda it: it.offset)
        return self.records[at : at + records_max]


class Logs:
    def __init__(self) -> None:
        self.of: dict[Place, Log] = {}
        self._partitions: dict[str, int] = {}

    def create(self, topic: str, partitions: int) -> None:
        self._partitions[topic] = partitions
        for partition in range(partitions):
            self.of[topic, partition] = Log()

    def has(self, topic: str) -> bool:
        return topic in self._partitions

    def places(self, topic: str) -> list[Place]:
        return [(topic, partition) for partition in range(self._partitions[topic])]

    def place(self, topic: str, key: bytes) -> Place:
        return topic, crc32(key) % self._partitions[topic]

    def put(
        self,
        place: Place,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        timestamp_ms: int,
    ) -> Delivery:
        log = self.of[place]
        delivery = Delivery(*place, log.end, timestamp_ms, key, value, headers)
        log.records.append(delivery)
        log.end += 1
        return delivery

    def skip(self, place: Place, offsets: int) -> None:
        """Transaction markers: offsets that hold nothing."""
        self.of[place].end += offsets

    def compact(self, place: Place, offset: int) -> None:
        log = self.of[place]
        log.records = [it for it in log.records if it.offset != offset]

    def expire(self, place: Place, before: int) -> None:
        log = self.of[place]
        log.start = max(log.start, before)
        log.records = [it for it in log.records if it.offset >= log.start]
