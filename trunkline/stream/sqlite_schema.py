"""The embedded stream's tables and every statement that touches them, over an open connection.

A lane is a partition of a topic. A record's row id is `lane << 40 | offset`, so the rows of a
lane lie together, in order. The next offset of a lane follows from its last row, or, when
retention has deleted them all, from `first_offset`, which moves in the transaction that deletes.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from trunkline.stream import Delivery, Headers, Mark, Place, TopicSpec

APPLICATION_ID = 0x54726B4C  # "TrkL": tells our files from other people's
VERSION = 2
OFFSET_BITS = 40
OFFSET_MASK = (1 << OFFSET_BITS) - 1

# 8 KiB holds several records of the usual size; 4 KiB measured 30 % more file for the same rows.
PRAGMAS_NEW = "PRAGMA page_size=8192", "PRAGMA auto_vacuum=INCREMENTAL"
PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA wal_autocheckpoint=2000",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA cache_size=-16000",
)
TABLES = (
    """CREATE TABLE topics(name TEXT PRIMARY KEY, partitions INTEGER, retention_ms INTEGER,
    compacted INTEGER, record_bytes_max INTEGER) STRICT""",
    """CREATE TABLE lanes(lane INTEGER PRIMARY KEY, topic TEXT, partition INTEGER,
    first_offset INTEGER DEFAULT 0, UNIQUE(topic, partition)) STRICT""",
    # The value comes last: what is read without it must not walk its overflow pages.
    """CREATE TABLE records(id INTEGER PRIMARY KEY, timestamp_ms INTEGER, key BLOB, headers BLOB,
    value BLOB) STRICT""",
    """CREATE TABLE marks(consumers TEXT, lane INTEGER, next_offset INTEGER, note TEXT,
    PRIMARY KEY(consumers, lane)) STRICT, WITHOUT ROWID""",
    "CREATE TABLE probe(id INTEGER PRIMARY KEY, filler BLOB) STRICT",
    f"PRAGMA application_id={APPLICATION_ID}",
    f"PRAGMA user_version={VERSION}",
)
BEGIN = "BEGIN IMMEDIATE"
PROBE_BYTES = 65_536

# One statement for many rows, because each statement gives up the interpreter lock and, beside a
# busy event loop, waits up to 5 ms to get it back.
_INSERTS = [
    (rows, "INSERT INTO records VALUES " + ",".join(["(?,?,?,?,?)"] * rows))  # noqa: S608  # fixed
    for rows in (64, 32, 16, 8, 4, 2, 1)
]
_COLUMNS = 5
# One row for all lanes, for the same reason. Written out: 40 is OFFSET_BITS.
_ENDS = """
    SELECT json_group_array(json_array(lane, first_offset,
        (SELECT max(id) FROM records WHERE id >= lane << 40 AND id < (lane + 1) << 40)))
    FROM lanes"""


class Cursor(Protocol):
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def close(self) -> None: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    def execute(self, sql: str, parameters: Sequence[object] = (), /) -> Cursor: ...


def pack_headers(headers: Headers) -> bytes:
    pieces = [name.encode() for name, _ in headers]
    pieces += [text for _, text in headers]
    lengths = struct.pack(f"<H{len(pieces)}I", len(headers), *map(len, pieces))
    return lengths + b"".join(pieces)


def unpack_headers(packed: bytes) -> Headers:
    (count,) = struct.unpack_from("<H", packed)
    lengths = struct.unpack_from(f"<{2 * count}I", packed, 2)
    pieces, at = [], 2 + 8 * count
    for length in lengths:
        pieces.append(packed[at : at + length])
        at += length
    names, texts = pieces[:count], pieces[count:]
    return tuple((name.decode(), text) for name, text in zip(names, texts, strict=True))


def topics_of(connection: Connection) -> dict[str, TopicSpec]:
    rows = connection.execute(
        "SELECT name, partitions, retention_ms, compacted, record_bytes_max FROM topics"
    ).fetchall()
    return {
        name: TopicSpec(name, partitions, 1, 1, retention, bool(compacted), size)
        for name, partitions, retention, compacted, size in rows
    }


def lanes_of(connection: Connection) -> dict[Place, int]:
    rows = connection.execute("SELECT topic, partition, lane FROM lanes").fetchall()
    return {(topic, partition): lane for topic, partition, lane in rows}


def create_topics(connection: Connection, specs: Iterable[TopicSpec]) -> None:
    existing = topics_of(connection)
    for spec in specs:
        if spec.name in existing:
            continue
        connection.execute(
            "INSERT INTO topics VALUES (?,?,?,?,?)",
            (
                spec.name,
                spec.partitions,
                spec.retention_ms,
                spec.compacted,
                spec.record_bytes_max,
            ),
        )
        for partition in range(spec.partitions):
            connection.execute(
                "INSERT INTO lanes(topic, partition) VALUES (?,?)", (spec.name, partition)
            )


def ends_of(connection: Connection) -> dict[int, tuple[int, int]]:
    """For every lane: the first offset kept and the next to be written."""
    (text,) = connection.execute(_ENDS).fetchone()
    return {
        lane: (first, first if last is None else (last & OFFSET_MASK) + 1)
        for lane, first, last in json.loads(text)
    }


def insert(connection: Connection, cells: Sequence[object]) -> None:
    """Rows of (id, timestamp_ms, key, headers, value), laid end to end."""
    at = 0
    for rows, statement in _INSERTS:
        size = rows * _COLUMNS
        while len(cells) - at >= size:
            connection.execute(statement, cells[at : at + size])
            at += size


def read(
    connection: Connection, place: Place, lane: int, span: range, bytes_max: int
) -> list[Delivery]:
    """Records at offsets in span, in order, until one passes bytes_max."""
    cursor = connection.execute(
        "SELECT id, timestamp_ms, key, headers, value FROM records"
        " WHERE id >= ? AND id < ? ORDER BY id",
        (lane << OFFSET_BITS | span.start, lane << OFFSET_BITS | span.stop),
    )
    topic, partition = place
    found, size = [], 0
    for id_, timestamp_ms, key, headers, value in cursor:
        found.append(
            Delivery(
                topic=topic,
                partition=partition,
                offset=id_ & OFFSET_MASK,
                timestamp_ms=timestamp_ms,
                key=key,
                value=value,
                headers=unpack_headers(headers),
            )
        )
        size += len(value)
        if size >= bytes_max:
            break
    cursor.close()  # an unfinished cursor would hold its snapshot, and the log could not be reset
    return found


def committed_by(connection: Connection, group: str) -> dict[int, Mark]:
    """For every lane where the group committed anything, what that was."""
    rows = connection.execute(
        "SELECT lane, next_offset, note FROM marks WHERE consumers = ?", (group,)
    ).fetchall()
    return {lane: Mark(next_offset, note) for lane, next_offset, note in rows}


def marks_of(connection: Connection, group: str) -> dict[int, Mark]:
    """For every lane what the group committed, moved up to what is kept."""
    committed = committed_by(connection, group)
    found = {}
    for lane, (first, _) in ends_of(connection).items():
        mark = committed.get(lane, Mark(first))
        found[lane] = mark if mark.next_offset >= first else Mark(first)
    return found


def write_marks(connection: Connection, group: str, marks: Mapping[int, Mark]) -> None:
    for lane, mark in marks.items():
        connection.execute(
            "REPLACE INTO marks VALUES (?,?,?,?)", (group, lane, mark.next_offset, mark.note)
        )


def probe(connection: Connection) -> None:
    """Write as much as a batch would."""
    connection.execute("REPLACE INTO probe VALUES (1, zeroblob(?))", (PROBE_BYTES,))
