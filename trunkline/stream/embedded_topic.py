"""What memory and SQLite decide alike: a key's partition, how topics differ, and how to say so."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from zlib import crc32

from trunkline.stream import TopicSpec


def partition_of(key: bytes, partitions: int) -> int:
    # crc32 spreads well, is stable for ever and runs in C; murmur2 in Python costs 20 times more.
    return crc32(key) % partitions


def too_large(size: int, topic: TopicSpec) -> str:
    return f"the record has {size} bytes, {topic.name} takes at most {topic.record_bytes_max}"


def missing(topic: str) -> str:
    return f"topic {topic} does not exist; `trunkline topics apply` creates it"


def limited(topic: TopicSpec, limits: Mapping[str, TopicSpec]) -> TopicSpec:
    """The topic with the limits in force now: those can change without moving a record."""
    now = limits.get(topic.name, topic)
    return replace(topic, retention_ms=now.retention_ms, record_bytes_max=now.record_bytes_max)


def differences(wanted: TopicSpec, actual: TopicSpec) -> tuple[str, ...]:
    """A sentence for everything in which an embedded topic can differ from its spec."""
    pairs: Sequence[tuple[str, object, object]] = (
        ("partitions", wanted.partitions, actual.partitions),
        ("retention_ms", wanted.retention_ms, actual.retention_ms),
        ("compacted", wanted.compacted, actual.compacted),
        ("record_bytes_max", wanted.record_bytes_max, actual.record_bytes_max),
    )
    return tuple(f"{name} is {is_}, not {asked}" for name, asked, is_ in pairs if asked != is_)
