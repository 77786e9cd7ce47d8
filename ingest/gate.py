"""Judges a webhook: bytes in, Admit or Refuse out. Pure: no clock, no socket, no stream."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from ingest.reading import read
from trunkline import envelope, topics
from trunkline.clock import rfc3339
from trunkline.envelope import Label, Proof
from trunkline.keys import Keys, PublicKey, decode_signature, verify
from trunkline.stream import Headers, Record

_TIMESTAMP_DIGITS = 10
_TRACE_STATE_BYTES_MAX = 512
_traceparent = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
_header_text = re.compile(rb"[\x20-\x7e]{1,200}").fullmatch


@dataclass(slots=True)
class Webhook:
    """A whole request for one account, as the socket gave it."""

    account: str
    signature: bytes | None
    timestamp: bytes | None
    content_type: bytes | None
    traceparent: bytes | None
    tracestate: bytes | None
    body: bytes


@dataclass(slots=True)
class Admit:
    record: Record
    label: Label
    key: PublicKey
    skew_seconds: float


@dataclass(frozen=True, slots=True)
class Refuse:
    reason: str


Verdict = Admit | Refuse

NO_SIGNATURE = Refuse("missing_signature")
NO_TIMESTAMP = Refuse("missing_timestamp")
BAD_SIGNATURE = Refuse("malformed_signature")
BAD_TIMESTAMP = Refuse("malformed_timestamp")
STALE = Refuse("stale_timestamp")
FUTURE = Refuse("future_timestamp")
NO_KEY = Refuse("no_key_in_force")
WRONG = Refuse("wrong_signature")
REFUSALS = tuple(
    refusal.reason
    for refusal in (
        NO_SIGNATURE,
        NO_TIMESTAMP,
        BAD_SIGNATURE,
        BAD_TIMESTAMP,
        STALE,
        FUTURE,
        NO_KEY,
        WRONG,
    )
)


def judge(
    webhook: Webhook,
    keys: Keys,
    now: float,
    tolerance_seconds: float,
    topic_name: Callable[[str], str],
) -> Verdict:
    proof = _prove(webhook, keys, now, tolerance_seconds)
    if isinstance(proof, Refuse):
        return proof
    content_type = webhook.content_type or b"application/json"
    label = read(content_type, webhook.body)
    topic = topics.route(label.type) if label.unreadable is None else topics.QUARANTINE
    headers = envelope.write(
        label,
        proof,
        webhook.account,
        content_type if _header_text(content_type) else b"application/octet-stream",
        rfc3339(now),
        _trace(webhook),
    )
    record = Record(topic_name(topic), label.key.encode(), webhook.body, headers, int(now * 1000))
    return Admit(record, label, proof.key, now - int(proof.timestamp))


def _prove(  # noqa: PLR0911  # one return per reason, in order
    webhook: Webhook, keys: Keys, now: float, tolerance_seconds: float
) -> Proof | Refuse:
    signature_text, timestamp = webhook.signature, webhook.timestamp
    if not signature_text:
        return NO_SIGNATURE
    if not timestamp:
        return NO_TIMESTAMP
    # bytes.isdigit knows ASCII digits only: no sign, space, underscore or foreign numeral.
    if len(timestamp) != _TIMESTAMP_DIGITS or not timestamp.isdigit():
        return BAD_TIMESTAMP
    skew = now - int(timestamp)
    if skew > tolerance_seconds:
        return STALE
    if skew < -tolerance_seconds:
        return FUTURE
    signature = decode_signature(signature_text)
    if signature is None:
        return BAD_SIGNATURE
    refusal = NO_KEY
    for key in keys:
        if key.in_force(now):
            if verify(key, signature, timestamp, webhook.body):
                return Proof(signature_text, timestamp, key)
            refusal = WRONG
    return refusal


def authentic(webhook: Webhook, keys: Keys) -> bool:
    """Whether one of our keys signed it, whenever that was."""
    signature = decode_signature(webhook.signature or b"")
    return signature is not None and any(
        verify(key, signature, webhook.timestamp or b"", webhook.body) for key in keys
    )


def _trace(webhook: Webhook) -> Headers:
    """W3C trace context, carried only if it is what the standard says."""
    parent, state = webhook.traceparent, webhook.tracestate
    if parent is None or not _traceparent(parent):
        return ()
    if state is None or len(state) > _TRACE_STATE_BYTES_MAX or not state.isascii():
        return (("traceparent", parent),)
    return (("traceparent", parent), ("tracestate", state))
