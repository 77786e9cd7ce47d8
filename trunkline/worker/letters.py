"""A dead letter: the record as it was, and on top all that is known of its end. Pure."""

import hashlib
from dataclasses import dataclass

from trunkline import __version__
from trunkline.clock import parse_rfc3339, rfc3339
from trunkline.stream import Delivery, Headers, Record
from trunkline.worker.retries import Trouble, clipped

BYTES_MAX = 2_000_000
KEPT_BYTES = 64 * 1024

_TOPIC = "tl-dead-topic"  # the first of ours: what stands before it is the original's
_CUT = "tl-dead-cut"  # what is missing, by first letters: key, value, headers


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead record read back."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    processor: str
    version: str
    attempts: int
    first_failed_at: float
    last_failed_at: float
    exception: str
    message: str
    reason: str
    key: bytes | None
    value: bytes | None
    headers: Headers  # the original's
    sha256: str | None  # of the whole value, if only its beginning was kept
    value_bytes: int  # of the whole value
    cut: frozenset[str]  # what was too large to be kept whole: key, value, headers


def write(
    delivery: Delivery,
    processor: str,
    reason: str,
    trouble: Trouble | None,
    now: float,
    *,
    topic: str,
    bytes_max: int = BYTES_MAX,
) -> Record:
    """What is larger than it may be loses its value but for the beginning, then headers, then key.

    `trouble` is None where nothing was tried: the first verdict was death.
    """
    key, value, headers = delivery.key or b"", delivery.value or b"", delivery.headers
    ours = _provenance(delivery, processor, reason, trouble, now)
    cut = []
    if _size(key, value, (*headers, *ours)) > bytes_max:
        ours.append(("tl-dead-sha256", hashlib.sha256(value).hexdigest().encode()))
        value = value[:KEPT_BYTES]
        cut.append("value")
    if _size(key, value, (*headers, *ours)) > bytes_max and _size(b"", b"", headers) > KEPT_BYTES:
        headers = ()
        cut.append("headers")
    if _size(key, value, (*headers, *ours)) > bytes_max and len(key) > KEPT_BYTES:
        key = key[:KEPT_BYTES]
        cut.append("key")
    if cut:
        ours.append((_CUT, ",".join(cut).encode()))
    return Record(topic, key, value, (*headers, *ours), int(now * 1_000))


def read(delivery: Delivery) -> Letter:
    """Raises ValueError if the record is not a dead letter."""
    names = [name for name, _ in delivery.headers]
    if _TOPIC not in names:
        raise ValueError("not a dead letter: it does not say where it comes from")
    # The last one: a letter that died again carries the older one among its original headers.
    at = len(names) - 1 - names[::-1].index(_TOPIC)
    try:
        ours = {name: value.decode() for name, value in delivery.headers[at:]}
        null = ours.get("tl-dead-null", "").split(",")
        return Letter(
            topic=ours[_TOPIC],
            partition=int(ours["tl-dead-partition"]),
            offset=int(ours["tl-dead-offset"]),
            timestamp_ms=int(ours["tl-dead-timestamp"]),
            processor=ours["tl-dead-processor"],
            version=ours["tl-dead-version"],
            attempts=int(ours["tl-dead-attempts"]),
            first_failed_at=parse_rfc3339(ours["tl-dead-first-failed-at"]),
            last_failed_at=parse_rfc3339(ours["tl-dead-last-failed-at"]),
            exception=ours["tl-dead-exception"],
            message=ours["tl-dead-message"],
            reason=ours["tl-dead-reason"],
            key=None if "key" in null else delivery.key,
            value=None if "value" in null else delivery.value,
            headers=delivery.headers[:at],
            sha256=ours.get("tl-dead-sha256"),
            value_bytes=int(ours["tl-dead-value-bytes"]),
            cut=frozenset(filter(None, ours.get(_CUT, "").split(","))),
        )
    except KeyError as missing:
        raise ValueError(f"not a dead letter: it lacks {missing}") from None


def _provenance(
    delivery: Delivery, processor: str, reason: str, trouble: Trouble | None, now: float
) -> list[tuple[str, bytes]]:
    ours = {
        _TOPIC: delivery.topic,
        "tl-dead-partition": str(delivery.partition),
        "tl-dead-offset": str(delivery.offset),
        "tl-dead-timestamp": str(delivery.timestamp_ms),
        "tl-dead-processor": processor,
        "tl-dead-version": __version__,
        "tl-dead-attempts": str(trouble.attempts if trouble else 1),
        "tl-dead-first-failed-at": rfc3339(trouble.first_at if trouble else now),
        "tl-dead-last-failed-at": rfc3339(trouble.last_at if trouble else now),
        "tl-dead-exception": trouble.exception if trouble else "",
        "tl-dead-message": trouble.message if trouble else "",
        "tl-dead-reason": clipped(reason),
        "tl-dead-value-bytes": str(len(delivery.value or b"")),
    }
    missing = [name for name in ("key", "value") if getattr(delivery, name) is None]
    if missing:
        ours["tl-dead-null"] = ",".join(missing)
    return [(name, text.encode()) for name, text in ours.items()]


def _size(key: bytes, value: bytes, headers: Headers) -> int:
    # A few bytes a header for its lengths, as streams count them.
    return len(key) + len(value) + sum(len(name) + len(text) + 8 for name, text in headers)
