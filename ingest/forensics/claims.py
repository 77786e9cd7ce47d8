"""Finds a request's signature and timestamp however spelled, and says what is odd. Pure."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import unquote_to_bytes

from trunkline.clock import parse_rfc3339
from trunkline.envelope import SIGNATURE, TIMESTAMP
from trunkline.keys import decode_signature
from trunkline.mask import printable

RawHeaders = list[tuple[bytes, bytes]]

_CLAIMS_MAX = 4
_PADDED, _UNPADDED, _HEX = 88, 86, 128
_SECONDS_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why the door does not take a header as it stands."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One header that may be meant as the signature, or as the timestamp."""

    name: str
    text: bytes
    value: bytes | None  # 64 bytes of signature, or ten digits; None if it cannot be read at all
    flaws: tuple[Flaw, ...] = ()


def signatures(headers: RawHeaders) -> list[Claim]:
    return _find(headers, SIGNATURE, _is_signature, read_signature, 64)


def timestamps(headers: RawHeaders) -> list[Claim]:
    return _find(headers, TIMESTAMP, _is_timestamp, read_timestamp, _SECONDS_DIGITS)


def _plain(name: bytes) -> str:
    """A name without what gateways and frameworks do to it (CGI's HTTP_, X-, underscores)."""
    text = name.decode("latin-1").lower().replace("_", "-")
    return text.removeprefix("http-").removeprefix("x-")


def _is_signature(name: str) -> bool:
    return (
        "signature" in name
        and ("telnyx" in name or "ed25519" in name)
        and not name.endswith("timestamp")
    )


def _is_timestamp(name: str) -> bool:
    return name.endswith("timestamp") and (
        "telnyx" in name or name in ("timestamp", "webhook-timestamp")
    )


def _find(
    headers: RawHeaders,
    name: str,
    similar: Callable[[str], bool],
    read: Callable[[bytes], tuple[bytes | None, list[Flaw]]],
    part_bytes_min: int,
) -> list[Claim]:
    exact = [value for header, value in headers if header.lower() == name.encode()]
    common: list[Flaw] = []
    if len(exact) > 1:
        same = "with the same value" if len(set(exact)) == 1 else "with different values"
        common.append(
            Flaw("header_duplicated", f"the header {name} comes {len(exact)} times {same}")
        )
    found = [
        (name, part, [*common, *flaws])
        for value in exact
        for part, flaws in _split(name, value, part_bytes_min)
    ]
    for header, value in () if exact else headers:
        if similar(_plain(header)):
            shown = printable(header, 60)
            flaw = Flaw("header_renamed", f"the header {name} came as {shown!r}")
            found += [
                (shown, part, [flaw, *flaws])
                for part, flaws in _split(shown, value, part_bytes_min)
            ]
    claims = []
    for shown, part, flaws in found[:_CLAIMS_MAX]:
        read_value, own = read(part)
        claims.append(Claim(shown, part, read_value, (*flaws, *own)))
    return claims


def _split(name: str, value: bytes, part_bytes_min: int) -> Iterator[tuple[bytes, list[Flaw]]]:
    """Proxies join repeated headers with a comma, which neither base64 nor digits contain."""
    parts = [part.strip() for part in value.split(b",")]
    if len(parts) == 1 or min(map(len, parts)) < part_bytes_min:
        yield value, []
        return
    flaw = Flaw("header_joined", f"the header {name} holds {len(parts)} values joined by commas")
    for part in dict.fromkeys(parts):
        yield part, [flaw]


def read_signature(text: bytes) -> tuple[bytes | None, list[Flaw]]:
    flaws: list[Flaw] = []
    for code, sentence, repair in _SIGNATURE_REPAIRS:
        if decode_signature(text) is not None:
            break
        repaired = repair(text)
        if repaired != text:
            flaws.append(Flaw(code, f"the signature {sentence}"))
            text = repaired
    value = decode_signature(text)
    if value is None:
        sentence = f"the signature is not 64 bytes in base64 ({len(text)} characters, 88 expected)"
        return None, [*flaws, Flaw("signature_malformed", sentence)]
    return value, flaws


def _unbreak(text: bytes) -> bytes:
    joined = b"".join(text.split())
    return joined if len(joined) == (_PADDED if text.endswith(b"=") else _UNPADDED) else text


def _unhex(text: bytes) -> bytes:
    try:
        return base64.b64encode(bytes.fromhex(text.decode())) if len(text) == _HEX else text
    except ValueError:
        return text


def _canonical(text: bytes) -> bytes:
    """Spare bits before the padding can be set without changing what lenient decoders read."""
    try:
        return base64.b64encode(binascii.a2b_base64(text, strict_mode=True))
    except binascii.Error:
        return text


_PREFIX = re.compile(rb"^[A-Za-z0-9]{1,12}[,=:]\s*(?=[A-Za-z0-9+/_-]{80})")

_SIGNATURE_REPAIRS: tuple[tuple[str, str, Callable[[bytes], bytes]], ...] = (
    ("signature_percent", "is percent-encoded", unquote_to_bytes),
    ("signature_quoted", "is in quotes or spaces", lambda text: text.strip(b" \t\r\n\"'")),
    ("signature_prefixed", "has a prefix", lambda text: _PREFIX.sub(b"", text)),
    ("signature_broken", "is broken into lines or has spaces in it", _unbreak),
    ("signature_plus_lost", "has spaces where `+` was", lambda text: text.replace(b" ", b"+")),
    ("signature_hex", "is in hexadecimal instead of base64", _unhex),
    (
        "signature_base64url",
        "is in the base64 of URLs (- and _ for + and /)",
        lambda text: text.translate(bytes.maketrans(b"-_", b"+/")),
    ),
    (
        "signature_unpadded",
        "lacks its padding (== at the end)",
        lambda text: text.rstrip(b"=") + b"==" if len(text.rstrip(b"=")) == _UNPADDED else text,
    ),
    ("signature_not_canonical", "is base64, but not the canonical text of it", _canonical),
)


def read_timestamp(text: bytes) -> tuple[bytes | None, list[Flaw]]:
    if _is_seconds(text):
        return text, []
    flaws, bare = [], text.strip(b" \t\r\n\"'")
    if bare != text:
        flaws.append(Flaw("timestamp_spaces", "the timestamp has spaces or quotes around it"))
    for code, sentence, pattern in _TIMESTAMP_FORMS:
        match = pattern.fullmatch(bare)
        if match:
            return match[1], [*flaws, Flaw(code, f"the timestamp {sentence}")]
    if _is_seconds(bare):
        return bare, flaws
    seconds = _read_date(bare.decode("latin-1"))
    if seconds is not None and _is_seconds(seconds):
        sentence = "the timestamp is a date, not the Unix seconds that were signed"
        return seconds, [*flaws, Flaw("timestamp_date", sentence)]
    shown = printable(text, 40)
    malformed = Flaw("timestamp_malformed", f"the timestamp {shown!r} is not ten digits")
    return None, [*flaws, malformed]


def _is_seconds(text: bytes) -> bool:
    return len(text) == _SECONDS_DIGITS and text.isdigit()


_TIMESTAMP_FORMS = (
    ("timestamp_plus", "has a leading +", re.compile(rb"\+(\d{10})")),
    ("timestamp_zeros", "has leading zeros", re.compile(rb"0+([1-9]\d{9})")),
    ("timestamp_milliseconds", "is in milliseconds", re.compile(rb"(\d{10})\d{3}")),
    ("timestamp_microseconds", "is in microseconds", re.compile(rb"(\d{10})\d{6}")),
    ("timestamp_decimal", "has decimals", re.compile(rb"(\d{10})[.]\d*")),
)


def _read_date(text: str) -> bytes | None:
    for read in (parse_rfc3339, lambda date: parsedate_to_datetime(date).timestamp()):
        try:
            return b"%d" % int(read(text))
        except (ValueError, TypeError, OverflowError):
            continue
    return None
