"""Where settings become objects: the one place that chooses an implementation."""

import argparse
import os
from pathlib import Path

from trunkline import topics
from trunkline.clock import Clock
from trunkline.config import load, mask_url
from trunkline.errors import Misconfigured
from trunkline.settings import Settings
from trunkline.stream import Stream


def settings_of(arguments: argparse.Namespace) -> Settings:
    return load(Path(arguments.config) if arguments.config else None, os.environ)


def open_stream(settings: Settings, clock: Clock) -> Stream:
    """The stream that `stream` names; imports only what it needs."""
    scheme, separator, rest = settings.stream.partition("://")
    specs = topics.specs(settings.topics)
    if scheme == "sqlite" and separator:
        from trunkline.stream.sqlite import SqliteStream

        return SqliteStream(sqlite_path(rest), settings.sqlite, specs, clock)
    if scheme == "kafka" and separator:
        from trunkline.stream.kafka import KafkaStream

        needed = [settings.topics.prefix + topic for topic in topics.INGESTED]
        largest = max(spec.record_bytes_max for spec in specs)
        return KafkaStream(settings.stream, settings.kafka, clock, needed, largest)
    raise Misconfigured(
        "stream", f"{mask_url(settings.stream)!r} is neither sqlite:///path nor kafka://host:port"
    )


def sqlite_path(rest: str) -> Path:
    """`/relative` or `//absolute`, as in sqlite:///var/stream.db and sqlite:////srv/stream.db."""
    if not rest.startswith("/") or len(rest) == 1:
        raise Misconfigured("stream", "a sqlite stream is sqlite:///path or sqlite:////absolute")
    return Path(rest[1:])


def embedded(settings: Settings) -> bool:
    return settings.stream.startswith("sqlite:")
