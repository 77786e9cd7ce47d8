"""What a stream is: records appended durably, delivered in order, marked by group."""

from collections.abc import Collection, Mapping, Sequence
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


Place = tuple[str, int]  # topic and partition


class Start(Enum):
    """Where free reading begins."""

    EARLIEST = "earliest"
    LATEST = "latest"


class Subscription(Protocol):
    """Free reading: all partitions, no group, nothing remembered."""

    async def fetch(self, records_max: int, wait_seconds: float) -> list[Delivery]:
        """What has arrived, in offset order within each partition; [] after waiting in vain.

        One caller at a time, and never cancelled: stop by not calling again.
        """

    async def close(self) -> None: ...


NOTE_BYTES_MAX = 4_000


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a group has come in a partition: all below is settled, above what the note says."""

    next_offset: int
    note: str = ""


class Member(Protocol):
    """Who consumes for a group, as the stream sees it."""

    def assigned(self, marks: Mapping[Place, Mark]) -> None:
        """These partitions are ours from now on, each from its mark; their deliveries follow.

        Without awaiting anything: what is fetched next may already be theirs.
        """

    async def revoked(self, places: Collection[Place]) -> None:
        """Finish what can be finished, commit, and let go. The stream waits a bounded time.

        Once this has returned, or its time is up, the partitions may be somebody else's.
        """

    def lost(self, places: Collection[Place]) -> None:
        """They are somebody else's already: forget them; commits for them are refused."""


class Membership(Protocol):
    async def fetch(
        self, records_max: int, wait_seconds: float, held: Collection[Place] = ()
    ) -> list[Delivery]:
        """What has arrived in our partitions but for those held back, in offset order in each.

        Never anything of a partition that is not assigned at the moment of returning. One caller
        at a time, and never cancelled. Raises StreamUnavailable when the membership is at its end:
        the member has then been told what it lost; close, and join again.
        """

    async def commit(self, marks: Mapping[Place, Mark]) -> None:
        """Durably note how far we have come. Bounded in time.

        Raises Fenced, and notes nothing, if one of the places is not ours under the assignment in
        force (a zombie must not move its successor's mark), StreamUnavailable if it may be tried
        again.
        """

    async def close(self) -> None:
        """Leave the group. Does not call revoked: finish and commit before."""


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

    async def subscribe(self, topics: Sequence[str], start: Start) -> Subscription: ...

    async def join(self, topics: Sequence[str], group: str, member: Member) -> Membership:
        """Consume for a group: partitions are shared among its members, marks are remembered.

        Where the group has no mark, it begins at the earliest record kept. A mark below what is
        kept is moved up to it.
        """

    async def inspect(self, specs: Sequence[TopicSpec]) -> list[TopicState]: ...

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        """Create what is missing; never changes what exists."""

    async def ends(self, topics: Sequence[str]) -> Mapping[tuple[str, int], tuple[int, int]]:
        """(topic, partition) -> (first offset kept, next offset to be written)."""

    async def marks(self, topics: Sequence[str], group: str) -> Mapping[Place, Mark]:
        """What a group has committed, as it stands, without joining it.

        Where it has committed nothing, there is nothing; a mark may lie outside of what is kept.
        """

    async def close(self) -> None:
        """Wait a bounded time for what is under way, then let go."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
