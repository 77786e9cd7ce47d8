"""Gives each record its lane and offset; what is refused, is refused alone."""

from collections.abc import Mapping, Sequence

from trunkline.errors import RecordRefused, StreamError, StreamUnavailable, TopicMissing
from trunkline.stream import Place, Record, TopicSpec
from trunkline.stream.embedded_topic import limited, missing, partition_of, too_large
from trunkline.stream.sqlite_schema import (
    OFFSET_BITS,
    Connection,
    ends_of,
    insert,
    lanes_of,
    pack_headers,
    topics_of,
)

Row = tuple[int, Record, bytes]


class Placement:
    """What the writer remembers between appends; anything surprising makes it forget."""

    def __init__(self, limits: Mapping[str, TopicSpec]) -> None:
        self._limits = limits
        self._topics: dict[str, TopicSpec] = {}
        self._lanes: dict[Place, int] = {}
        self._next: dict[int, int] = {}
        self._connection: Connection | None = None
        self._version: object = None

    def refresh(self, connection: Connection, records: Sequence[Record]) -> None:
        """Read the topics again if one is unknown, or if the file may be another one."""
        if connection is self._connection and all(r.topic in self._topics for r in records):
            return
        self._connection, self._version = connection, None
        topics = topics_of(connection)
        self._topics = {name: limited(topic, self._limits) for name, topic in topics.items()}
        self._lanes = lanes_of(connection)

    def plan(self, records: Sequence[Record]) -> tuple[list[StreamError | None], list[Row]]:
        """Everything that needs no lock: another process may be waiting for it."""
        problems: list[StreamError | None] = []
        rows: list[Row] = []
        for record in records:
            spec = self._topics.get(record.topic)
            if spec is None:
                problems.append(TopicMissing(missing(record.topic)))
                continue
            headers = pack_headers(record.headers)
            size = len(record.key) + len(record.value) + len(headers)
            if size > spec.record_bytes_max:
                problems.append(RecordRefused(too_large(size, spec)))
                continue
            problems.append(None)
            lane = self._lanes[record.topic, partition_of(record.key, spec.partitions)]
            rows.append((lane, record, headers))
        return problems, rows

    def write(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Inside the transaction, so that the offsets are nobody else's."""
        if connection is not self._connection:
            raise StreamUnavailable("the file was replaced a moment ago")
        # Unchanged means: since our last look here, only this connection has written.
        version = connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._next = {lane: end for lane, (_, end) in ends_of(connection).items()}
            self._version = version
        following = self._next
        cells: list[object] = []
        for lane, record, headers in rows:
            offset = following[lane]
            following[lane] = offset + 1
            cells += (
                lane << OFFSET_BITS | offset,
                record.timestamp_ms,
                record.key,
                headers,
                record.value,
            )
        insert(connection, cells)
