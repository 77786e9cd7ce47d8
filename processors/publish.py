"""Decides what the lake says: where a file is cut, what it is called, what its lines hold.

Names and lines are the lake's format: several publishers may write the same file at once, so for
the same records of the same cut they must come to the same bytes.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from trunkline.clock import rfc3339
from trunkline.envelope import Envelope
from trunkline.settings import LakeSection
from trunkline.stream import Delivery

UNKNOWN = "unknown"
_NAME_BYTES_MAX = 150  # a file system takes 255 for all of a name's parts together
_LAST_SECOND = 253_402_300_799  # of the year 9999, the last that dates can say
# A round allowance for headers, as the stream's own accounting makes.
_RECORD_BYTES = 1_024

# Capitals are escaped too: some file systems take `Call` and `call` for one folder.
_to_escape = re.compile(rb"[^a-z0-9._-]")
_received = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"
).fullmatch
# Outside of strings a line break is white space, and inside of them JSON has none.
_ON_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


class Cutter:
    """Where the cut at the head of a place ends. What it has looked at it does not look at again.

    A cut that is closed by what follows it, or is full, stays the same however much more arrives.
    """

    def __init__(self, limits: LakeSection) -> None:
        self._limits = limits
        self._span_ms = int(limits.cut_seconds * 1_000)
        self._first = -1
        self._seen = self._count = self._size = 0
        self._closed = False

    def cut(self, waiting: Sequence[Delivery], now: float) -> int | float:
        """How many of the head are the cut, or when to ask again; sooner if more arrives."""
        first = waiting[0]
        if first.offset != self._first or len(waiting) < self._seen:
            self._first = first.offset
            self._count = self._size = 0
            self._closed = False
        self._seen = len(waiting)
        while not self._closed and self._count < len(waiting):
            self._look_at(waiting[self._count], first.timestamp_ms)
        due = (first.timestamp_ms + self._span_ms) / 1_000
        # A producer whose clock is far ahead must not keep its records out of the lake till then.
        growing = not self._closed and now < due <= now + 2 * self._limits.cut_seconds
        return due if growing else self._count

    def _look_at(self, delivery: Delivery, first_ms: int) -> None:
        limits = self._limits
        size = self._size + _size(delivery)
        late = delivery.timestamp_ms - first_ms > self._span_ms
        if self._count and (late or size > limits.cut_bytes_max):
            self._closed = True
            return
        self._count += 1
        self._size = size
        self._closed = self._count == limits.cut_records_max or size >= limits.cut_bytes_max


def _size(delivery: Delivery) -> int:
    return len(delivery.value or b"") + len(delivery.key or b"") + _RECORD_BYTES


def entry(delivery: Delivery, start: int, end: int) -> tuple[str, bytes]:
    """The file of the cut [start, end] that a record belongs to, and its line there."""
    envelope = Envelope.of(delivery)
    received_at = _received_at(envelope)
    name = f"{_safe(delivery.topic)}-{delivery.partition}-{start:020d}-{end:020d}.jsonl"
    kind = _safe(envelope.type or UNKNOWN)
    return f"lake/date={received_at[:10]}/kind={kind}/{name}", _line(envelope, received_at)


def _safe(text: str) -> str:
    """Different texts stay different, and none can leave its folder."""
    raw = text.encode()
    safe = _to_escape.sub(lambda match: b"%%%02X" % match[0][0], raw).decode()
    if len(safe) <= _NAME_BYTES_MAX:
        return safe
    digest = hashlib.sha256(raw).hexdigest()[:16]
    return f"{safe[: _NAME_BYTES_MAX - 17]}~{digest}"


def _received_at(envelope: Envelope) -> str:
    """When the door took it in; for a record from elsewhere, when it was appended."""
    text = envelope.received_at
    if text is not None and _received(text):
        try:
            datetime.fromisoformat(text)
        except ValueError:
            pass  # 2026-02-30: from elsewhere, like one that is missing
        else:
            return text
    return rfc3339(min(max(envelope.delivery.timestamp_ms / 1_000, 0), _LAST_SECOND))


def _line(envelope: Envelope, received_at: str) -> bytes:
    delivery = envelope.delivery
    key, exact = _text(delivery.key), b""
    if key is None and delivery.key is not None:
        exact += b',"key_base64":"' + base64.b64encode(delivery.key) + b'"'
    event = _verbatim(delivery.value)
    if event is None and delivery.value is not None:
        exact += b',"raw_base64":"' + base64.b64encode(delivery.value) + b'"'
    outside = orjson.dumps(
        {
            "topic": delivery.topic,
            "partition": delivery.partition,
            "offset": delivery.offset,
            "id": envelope.id,
            "type": envelope.type,
            "key": key,
            "account": envelope.account,
            "received_at": received_at,
        }
    )
    return b'%b,"event":%b%b}\n' % (outside[:-1], event or b"null", exact)


def _text(raw: bytes | None) -> str | None:
    try:
        return None if raw is None else raw.decode()
    except UnicodeDecodeError:
        return None


def _verbatim(body: bytes | None) -> bytes | None:
    """The body as one line of JSON, its numbers and escapes untouched; None if it cannot be that.

    Not so where readers would disagree or fail (a key given twice, nesting without end), and not
    for a bare `null`, which stands for no body at all.
    """
    if body is None:
        return None
    try:
        document = orjson.loads(body)
        if document is None:
            return None
        # What is written back as it came hides nothing: the usual case. Refuses deep nesting.
        if orjson.dumps(document) != body:
            json.loads(body, object_pairs_hook=_distinct)
    except (ValueError, TypeError, RecursionError):  # orjson's errors are ValueError, TypeError
        return None
    return body.translate(_ON_ONE_LINE)


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is given twice")
