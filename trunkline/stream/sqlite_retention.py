"""Forgets old records of the embedded stream in small steps, and gives their space back."""

from collections.abc import Mapping

from trunkline.stream import TopicSpec
from trunkline.stream.embedded_topic import limited
from trunkline.stream.sqlite_schema import (
    OFFSET_BITS,
    OFFSET_MASK,
    Connection,
    lanes_of,
    topics_of,
)

# What one transaction may delete: other writers wait for it.
STEP_ROWS = 200
STEP_BYTES = 1_048_576
STEP_PAGES = 64
# Free pages up to this share of those in use stay: tomorrow's records need them again.
SLACK_SHARE = 8


def cutoffs(connection: Connection, limits: Mapping[str, TopicSpec], now: float) -> dict[int, int]:
    """For every lane the time before which its records go.

    A compacted topic keeps everything: the newest of a key must stay, and which that is would
    take an index to know.
    """
    topics = topics_of(connection)
    found = {}
    for (name, _), lane in lanes_of(connection).items():
        topic = limited(topics[name], limits)
        if topic.retention_ms >= 0 and not topic.compacted:
            found[lane] = int(now * 1000) - topic.retention_ms
    return found


def expired_lanes(connection: Connection, cutoffs: Mapping[int, int]) -> list[int]:
    """Lanes whose oldest record is older than the lane's cutoff."""
    found = []
    for lane, cutoff in cutoffs.items():
        row = connection.execute(
            "SELECT timestamp_ms FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT 1",
            (lane << OFFSET_BITS, (lane + 1) << OFFSET_BITS),
        ).fetchone()
        if row is not None and row[0] < cutoff:
            found.append(lane)
    return found


def delete_step(connection: Connection, lane: int, cutoff: int) -> int:
    """Delete some of the oldest records of a lane; 0 when none is left to delete.

    Only from the front, as Kafka does: a record stamped in the future keeps those behind it.
    """
    rows = connection.execute(
        "SELECT id, timestamp_ms, length(value) FROM records"
        " WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        (lane << OFFSET_BITS, (lane + 1) << OFFSET_BITS, STEP_ROWS),
    ).fetchall()
    count = size = 0
    for _, timestamp_ms, length in rows:
        if timestamp_ms >= cutoff or size >= STEP_BYTES:
            break
        count += 1
        size += length
    if count:
        last = rows[count - 1][0]
        connection.execute(
            "DELETE FROM records WHERE id >= ? AND id <= ?", (lane << OFFSET_BITS, last)
        )
        connection.execute(
            "UPDATE lanes SET first_offset = ? WHERE lane = ?", ((last & OFFSET_MASK) + 1, lane)
        )
    return count


def spare_pages(connection: Connection) -> int:
    """Free pages beyond the slack."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    used = int(pages) - int(free)
    return max(0, int(free) - used // SLACK_SHARE)


def vacuum_step(connection: Connection, pages: int) -> None:
    # One by one: the pragma frees a page each time it is stepped, and Python steps it only once.
    for _ in range(min(pages, STEP_PAGES)):
        connection.execute("PRAGMA incremental_vacuum(1)")
