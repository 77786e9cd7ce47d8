"""A signed request as somebody may have captured it, and what forensics says of it."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from ingest.forensics.explanation import explain
from ingest.forensics.report import Report
from trunkline.events.samples import make
from trunkline.keys import DevelopmentKey

NOW = 1_800_000_000.0
STAMP = "1800000000"
TOLERANCE = 300
OURS, THEIRS = DevelopmentKey(bytes(32)), DevelopmentKey(bytes([1]) * 32)
ACCOUNTS = {"main": (OURS.public,), "other": (THEIRS.public,)}
# It has letters beyond ASCII, slashes, nested objects, null, true and an empty list.
BODY = make("call.initiated", number=1, now=NOW).replace(b'"A"', b'"a/b"')
Headers = list[tuple[bytes, bytes]]


def signed(body: bytes = BODY, stamp: str = STAMP, key: DevelopmentKey = OURS) -> Headers:
    return [
        (b"Host", b"hooks.example.com"),
        (b"Content-Type", b"application/json"),
        (b"Telnyx-Signature-Ed25519", key.sign(stamp, body).encode()),
        (b"Telnyx-Timestamp", stamp.encode()),
    ]


def judged(
    headers: Headers, body: bytes = BODY, changes: Mapping[str, Any] | None = None
) -> Report:
    arguments: dict[str, Any] = {
        "method": "POST",
        "target": "/webhooks/telnyx/main",
        "accounts": ACCOUNTS,
        "now": NOW,
        "tolerance_seconds": TOLERANCE,
    }
    return explain(headers=headers, body=body, **arguments | dict(changes or {}))


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


def replaced(headers: Headers, name: str, value: bytes) -> Headers:
    return [(old, value if old.lower() == name.encode() else kept) for old, kept in headers]


def dumped(**style: Any) -> Callable[[bytes], bytes]:
    return lambda body: json.dumps(json.loads(body), **style).encode()
