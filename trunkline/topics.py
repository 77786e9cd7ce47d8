"""Which topic an event belongs to, and what each topic should look like."""

from collections.abc import Callable

from trunkline.errors import Misconfigured
from trunkline.settings import TopicOverride, TopicsSection
from trunkline.stream import TopicSpec

CALLS = "telnyx.calls"
RECORDINGS = "telnyx.recordings"
VIDEO = "telnyx.video"
OTHER = "telnyx.other"
QUARANTINE = "telnyx.quarantine"
COMMANDS = "trunkline.commands"
RESULTS = "trunkline.results"
CHANGES = "trunkline.changes"
DEAD = "trunkline.dead"

# Where deferred deliveries wait, by the seconds they do: each is addressed to one processor.
DEFERRED = {
    1: "trunkline.deferred.1s",
    10: "trunkline.deferred.10s",
    60: "trunkline.deferred.1m",
    600: "trunkline.deferred.10m",
    3_600: "trunkline.deferred.1h",
}
_DEFERRED_PARTITIONS = 3  # at most: every processor that defers reads all of them
_DEFERRED_HOURS = 24  # at least: what waits an hour must not be forgotten within it

# What the door may write to; it is ready when these exist.
INGESTED = (CALLS, RECORDINGS, VIDEO, OTHER, QUARANTINE)
ALL = (*INGESTED, COMMANDS, RESULTS, CHANGES, DEAD, *DEFERRED.values())


def route(event_type: str) -> str:
    """The topic of a Telnyx event type.

    Saved recordings, stored transcriptions and compositions leave their family for RECORDINGS;
    a live `call.transcription` is part of the call and stays in order with it.
    """
    if ".recording." in event_type or ".composition." in event_type:
        return RECORDINGS if event_type.startswith(("call.", "conference.", "video.")) else OTHER
    if event_type.startswith(("call.", "conference.", "streaming.", "siprec.")):
        return CALLS
    if event_type.startswith("video."):
        return VIDEO
    return OTHER


def specs(section: TopicsSection) -> tuple[TopicSpec, ...]:
    """What every topic should be. Compaction is off: events are history, not state."""
    unknown = set(section.overrides) - set(ALL)
    if unknown:
        raise Misconfigured(f"topics.overrides.{min(unknown)}", "no such topic")
    return tuple(_spec(topic, section) for topic in ALL)


def _spec(topic: str, section: TopicsSection) -> TopicSpec:
    own = section.overrides.get(topic, TopicOverride())
    partitions, hours = section.partitions, section.retention_hours
    if topic in DEFERRED.values():
        partitions = min(partitions, _DEFERRED_PARTITIONS)
        hours = max(hours, _DEFERRED_HOURS)
    return TopicSpec(
        name=section.prefix + topic,
        partitions=own.partitions or partitions,
        replicas=own.replicas or section.replicas,
        in_sync_replicas_min=own.in_sync_replicas_min or section.in_sync_replicas_min,
        retention_ms=(own.retention_hours or hours) * 3_600_000,
        compacted=own.compacted or False,
        record_bytes_max=own.record_bytes_max or section.record_bytes_max,
    )


def prefixed(prefix: str) -> Callable[[str], str]:
    """Topic names as they are in the stream: an installation may share a cluster with others."""
    names = {topic: prefix + topic for topic in ALL}
    return names.__getitem__
