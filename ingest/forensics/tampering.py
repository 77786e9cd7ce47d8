"""Guesses at what a body was before somebody on the way changed it. Pure."""

import base64
import binascii
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, quote_plus

from ingest.forensics.rewriting import parse, rewritings

BODY_BYTES_MAX = 1_000_000
GUESSES_MAX = 56
_BOM = b"\xef\xbb\xbf"

Change = Callable[[bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class Guess:
    """A body as it may have been signed, and what would have been done to it since."""

    body: bytes
    code: str
    change: str


def guesses(body: bytes) -> Iterator[Guess]:
    """The likeliest first, each body once; none for a body larger than any we accept."""
    if len(body) > BODY_BYTES_MAX:
        return
    seen, left = {body}, GUESSES_MAX
    for guess in _all(body):
        if guess.body in seen:
            continue
        if left == 0:
            return
        seen.add(guess.body)
        left -= 1
        yield guess


def _all(body: bytes) -> Iterator[Guess]:
    for code, change, undo in _SIMPLE:
        original = undo(body)
        if original is not None:
            yield Guess(original, code, change)
    if is_form(body):
        yield from _forms(body)
    for original, style in rewritings(body):
        change = f"its JSON was parsed and written anew (signed was: {style})"
        yield Guess(original, "json_rewritten", change)


def _recode(source: str, target: str) -> Change:
    def undo(body: bytes) -> bytes | None:
        try:
            return body.decode(source).encode(target)
        except UnicodeError:
            return None

    return undo


def _unbase64(body: bytes) -> bytes | None:
    try:
        return base64.b64decode(b"".join(body.split()), validate=True) or None
    except binascii.Error:
        return None


def _decompress(body: bytes) -> bytes | None:
    try:
        # Bounded: a small body must not unfold into gigabytes.
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, BODY_BYTES_MAX)
    except zlib.error:
        return None


def _unwrap(body: bytes) -> bytes | None:
    """The body in a JSON string, or in a gateway's event: {"body": …, "isBase64Encoded": …}."""
    document, encoded = parse(body), False
    if isinstance(document, dict):
        encoded = document.get("isBase64Encoded") is True
        document = document.get("body")
    if not isinstance(document, str):
        return None
    inner = document.encode("utf-8", "surrogatepass")
    return _unbase64(inner) if encoded else inner


_SIMPLE: tuple[tuple[str, str, Change], ...] = (
    ("newline_added", "a newline was added at its end", lambda body: body.removesuffix(b"\n")),
    ("newline_added", "a CR LF was added at its end", lambda body: body.removesuffix(b"\r\n")),
    ("whitespace_added", "white space was added around it", bytes.strip),
    ("newline_stripped", "the newline at its end was stripped", lambda body: body + b"\n"),
    ("newline_stripped", "the CR LF at its end was stripped", lambda body: body + b"\r\n"),
    (
        "newlines_changed",
        "its CR LF line breaks became LF",
        lambda body: re.sub(rb"\r?\n", b"\r\n", body),
    ),
    (
        "newlines_changed",
        "its LF line breaks became CR LF",
        lambda body: body.replace(b"\r\n", b"\n"),
    ),
    ("bom_added", "a byte order mark was put before it", lambda body: body.removeprefix(_BOM)),
    ("bom_stripped", "its byte order mark was stripped", lambda body: _BOM + body),
    (
        "double_encoded",
        "UTF-8 was taken for Latin-1 and encoded again",
        _recode("utf-8", "latin-1"),
    ),
    ("double_encoded", "UTF-8 was taken for cp1252 and encoded again", _recode("utf-8", "cp1252")),
    ("transcoded", "it was changed from UTF-8 to Latin-1", _recode("latin-1", "utf-8")),
    ("base64_wrapped", "it was encoded in base64", _unbase64),
    ("json_wrapped", "it was put inside another JSON document", _unwrap),
    ("compressed", "it was compressed", _decompress),
)


def is_form(body: bytes) -> bool:
    return body[:1] not in b'{["<' and all(b"=" in pair for pair in body.split(b"&"))


_FORM_WRITERS: tuple[Callable[[str], str], ...] = (
    quote_plus,
    lambda text: quote(text, safe=""),
    lambda text: quote_plus(text, safe="*").replace("~", "%7E"),  # as browsers write forms
    lambda text: quote(text, safe="/"),
    lambda text: quote(text, safe="!*'()"),  # as JavaScript's encodeURIComponent
    lambda text: re.sub("%[0-9A-F]{2}", lambda code: code.group().lower(), quote_plus(text)),
)


def _forms(body: bytes) -> Iterator[Guess]:
    text = body.decode("utf-8", "surrogateescape")
    raw = [tuple(pair.split("=", 1)) for pair in text.split("&")]
    decoded = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    for code, change, pairs in (
        ("form_reencoded", "the form was decoded and encoded again by another encoder", decoded),
        ("form_decoded", "the form was percent-decoded", raw),
    ):
        for write in _FORM_WRITERS:
            parts = (f"{write(name)}={write(value)}" for name, value in pairs)
            yield Guess("&".join(parts).encode("utf-8", "surrogateescape"), code, change)
