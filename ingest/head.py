"""Judges a request's head before its body is read: for which account, or which Fault. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from ingest.answers import (
    BODY_LARGE,
    DUPLICATE,
    ENCODED,
    EXPECTATION,
    MALFORMED,
    METHOD,
    NO_HOST,
    UNKNOWN_ACCOUNT,
    UNKNOWN_PATH,
)

PATH = b"/webhooks/telnyx"
RawHeaders = list[tuple[bytes, bytes]]

# Given twice, one of these could mean two things; the last two decide what was signed.
_ONCE = frozenset(
    (
        b"host",
        b"content-length",
        b"content-type",
        b"transfer-encoding",
        b"expect",
        b"telnyx-signature-ed25519",
        b"telnyx-timestamp",
    )
)
_KNOWN = _ONCE | {b"content-encoding", b"traceparent", b"tracestate"}


@dataclass(slots=True)
class Asked:
    """What was asked of us, as far as it was heard."""

    target: bytes
    headers: RawHeaders


@dataclass(slots=True)
class Head:
    account: str
    fields: dict[bytes, bytes]
    length: int  # announced body bytes; 0 if none or chunked
    continues: bool
    keepable: bool


def judge_head(
    method: bytes,
    version: str,
    target: bytes,
    headers: RawHeaders,
    accounts: Mapping[bytes, str],
    body_bytes_max: int,
) -> Head:
    """Raises the Fault to answer with; ambiguity comes first, then routing, then size."""
    fields = _collect(headers)
    chunked = _framing(version, fields)
    account = accounts.get(target) or _route(target, accounts)
    if method != b"POST":
        raise METHOD
    if b"content-encoding" in fields:
        raise ENCODED
    length = 0 if chunked else int(fields.get(b"content-length", b"0"))
    if length > body_bytes_max:
        raise BODY_LARGE
    expect = fields.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise EXPECTATION
    modern = version == "1.1"
    return Head(account, fields, length, expect is not None and modern, keepable=modern)


def _collect(headers: RawHeaders) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in _KNOWN:
            if lower in fields and lower in _ONCE:
                raise DUPLICATE
            fields[lower] = value.rstrip(b" \t")  # the parser leaves it; no part of a value
    return fields


def _framing(version: str, fields: Mapping[bytes, bytes]) -> bool:
    """Whether the body is chunked. What the parser refuses by itself is not repeated here."""
    if version not in ("1.1", "1.0"):
        raise MALFORMED
    host = fields.get(b"host")
    if not host and version == "1.1":
        raise NO_HOST
    coding = fields.get(b"transfer-encoding")
    if coding is None:
        return False
    # Another hop may skip a coding it does not know and see a different body than we do.
    if coding.lower() != b"chunked" or version == "1.0":
        raise MALFORMED
    return True


def _route(target: bytes, accounts: Mapping[bytes, str]) -> str:
    path = target
    if path[:7].lower() == b"http://" or path[:8].lower() == b"https://":
        # The absolute form, which every server must accept.
        _, slash, rest = path.partition(b"://")[2].partition(b"/")
        path = slash + rest
    path = path.partition(b"?")[0]
    account = accounts.get(path)
    if account is None:
        raise UNKNOWN_ACCOUNT if path == PATH or path.startswith(PATH + b"/") else UNKNOWN_PATH
    return account
