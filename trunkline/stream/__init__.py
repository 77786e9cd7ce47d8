"""What a stream is: records appended durably, delivered in order, settled by offset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Protocol, Self

from trunkline.errors import StreamError

Headers = tuple[tuple[str, bytes], ...]


@dataclass(slots=True)
class Record:
    """Something to append. Not frozen: it is made once per webhook and frozen triples its cost."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers
    timestamp_ms: int

    @property
    def size_bytes(self) -> int:
        # A round allowance stands for headers: it bounds memory, it is not an invoice.
        return len(self.value) + len(self.key) + 1024


@dataclass(slots=True)
class Delivery:
    """A record as the stream hands it back. Foreign producers may leave key or value null."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Start(Enum):
    """Where a subscription begins in a partition for which its group has settled nothing."""

    EARLIEST = "earliest"
    LATEST = "latest"


class Subscription(Protocol):
    async def fetch(self, records_max: int, wait_seconds: float) -> list[Delivery]:
        """What has arrived, in offset order within each partition; [] after waiting in vain.

        One caller at a time, and never cancelled: stop by not calling again.
        """

    async def settle(self, topic: str, partition: int, next_offset: int) -> None:
        """Durably note that everything below next_offset is done; the group resumes there.

        Without a group there is nothing to resume, and this does nothing.
        """

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic should be. Embedded streams have no replicas and ignore those two."""

    name: str
    partitions: int
    replicas: int
    in_sync_replicas_min: int
    retention_ms: int
    compacted: bool
    record_bytes_max: int


@dataclass(frozen=True, slots=True)
class TopicState:
    """How an existing topic differs from its spec: a sentence per difference."""

    name: str
    exists: bool
    differences: tuple[str, ...]


class Stream(Protocol):
    async def start(self) -> None:
        """Open what appending needs. Raises StreamUnavailable only where waiting cannot help."""

    def lane(self, record: Record) -> int:
        """Records of one lane wait for the same thing (a broker, a file): flush them together."""

    async def append(self, records: Sequence[Record]) -> list[StreamError | None]:
        """Append in the given order; return when each is durable (None) or has failed (why).

        May take as long as the stream does; several calls may be under way. Never cancelled:
        a caller in a hurry stops waiting, and the records may still land.
        """

    async def check(self) -> None:
        """Raise StreamUnavailable, saying why, if appends cannot succeed now."""

    async def subscribe(
        self, topics: Sequence[str], group: str | None, start: Start
    ) -> Subscription: ...

    async def inspect(self, specs: Sequence[TopicSpec]) -> list[TopicState]: ...

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        """Create what is missing; never changes what exists."""

    async def ends(self, topics: Sequence[str]) -> Mapping[tuple[str, int], tuple[int, int]]:
        """(topic, partition) -> (first offset kept, next offset to be written)."""

    async def close(self) -> None:
        """Wait a bounded time for what is under way, then let go."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
