"""The text of a mark's note: which offsets above the mark are settled, in the fewest bytes. Pure.

A note lists what is *stuck* (unsettled) between the mark and the highest settled offset; all else
in between is settled or does not exist. Layout: prefix, then base64 of a tag byte and a body:
{start, count, gaps before each run, the last gap, lengths} as varints, or {start, span, bits}.
"""

import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence

from trunkline.stream import NOTE_BYTES_MAX

Run = tuple[int, int]  # from an offset up to, but without, another

PREFIX = "tl1:"
NOTE_BYTES = 3 * 1024
assert NOTE_BYTES <= NOTE_BYTES_MAX

_RUNS, _BITS, _PACKED = 1, 2, 16
_PACK_BYTES = 200  # below this zlib gains nothing worth its time
_DENSE_SPAN_PER_RUN = 16  # sparser than this, bits never win, and building them is what costs
_BODY_BYTES_MAX = 1 << 20  # of what a note may unpack to: other tools write notes too
_VARINT_BITS_MAX = 63


def encode(start: int, stuck: Sequence[Run], end: int) -> tuple[str, bool]:
    """The note, and whether it had to be cut: then it calls less settled than is, never more."""
    text = _text(start, stuck, end)
    if len(text) <= NOTE_BYTES:
        return text, False
    kept, over = 0, len(stuck)
    while kept + 1 < over:
        middle = (kept + over) // 2
        if len(_text(start, stuck[:middle], stuck[middle][0])) <= NOTE_BYTES:
            kept = middle
        else:
            over = middle
    return _text(start, stuck[:kept], stuck[kept][0]), True


def decode(text: str, next_offset: int) -> tuple[list[Run], int]:
    """(what is stuck from next_offset on, the end of what the note speaks of).

    Raises ValueError if the note cannot be read or does not belong to this mark.
    """
    if not text:
        return [], next_offset
    if not text.startswith(PREFIX):
        raise ValueError("not a note of ours")
    raw = b64decode(text[len(PREFIX) :], validate=True)
    if not raw:
        raise ValueError("an empty note")
    tag, body = raw[0], raw[1:]
    if tag & _PACKED:
        body = _unpack(body)
    if tag & ~_PACKED == _RUNS:
        start, stuck, end = _read_runs(body)
    elif tag & ~_PACKED == _BITS:
        start, stuck, end = _read_bits(body)
    else:
        raise ValueError(f"a note of unknown kind {tag}")
    if start > next_offset:
        # Somebody moved the group back and left the note: what it calls settled is wanted again.
        raise ValueError(f"the note is about offsets from {start}, the mark is {next_offset}")
    stuck = [(max(first, next_offset), last) for first, last in stuck if last > next_offset]
    return stuck, max(end, next_offset)


def runs(offsets: Iterable[int]) -> list[Run]:
    """Ascending offsets as runs."""
    found: list[Run] = []
    first = last = -1
    for offset in offsets:
        if offset != last:
            if first >= 0:
                found.append((first, last))
            first = offset
        last = offset + 1
    if first >= 0:
        found.append((first, last))
    return found


def _text(start: int, stuck: Sequence[Run], end: int) -> str:
    if end <= start:
        return ""
    found = [_packed(_RUNS, _write_runs(start, stuck, end))]
    if len(stuck) * _DENSE_SPAN_PER_RUN > end - start:
        found.append(_packed(_BITS, _write_bits(start, stuck, end)))
    return PREFIX + b64encode(min(found, key=len)).decode()


def _packed(tag: int, body: bytes) -> bytes:
    plain = bytes([tag]) + body
    if len(plain) <= _PACK_BYTES:
        return plain
    return min(plain, bytes([tag | _PACKED]) + zlib.compress(body, 9), key=len)


def _unpack(body: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        plain = unpacking.decompress(body, _BODY_BYTES_MAX)
    except zlib.error as error:
        raise ValueError(f"cannot be unpacked: {error}") from None
    if not unpacking.eof or unpacking.unused_data:
        raise ValueError("cannot be unpacked whole")
    return plain


def _write_runs(start: int, stuck: Sequence[Run], end: int) -> bytes:
    # Gaps and lengths in columns of their own: most lengths are 1, and like packs well with like.
    gaps, lengths, at = [], [], start
    for first, last in stuck:
        gaps.append(first - at)
        lengths.append(last - first)
        at = last
    return _varints((start, len(stuck), *gaps, end - at, *lengths))


def _read_runs(body: bytes) -> tuple[int, list[Run], int]:
    numbers = _numbers(body)
    if len(numbers) < 3 or len(numbers) != 3 + 2 * numbers[1]:  # noqa: PLR2004  # start, count, last gap
        raise ValueError("a note of the wrong length")
    start, count = numbers[:2]
    gaps, lengths = numbers[2 : 3 + count], numbers[3 + count :]
    stuck, at = [], start
    for gap, length in zip(gaps, lengths, strict=False):  # the last gap has no run behind it
        stuck.append((at + gap, at + gap + length))
        at += gap + length
    return start, stuck, at + gaps[-1]


def _write_bits(start: int, stuck: Sequence[Run], end: int) -> bytes:
    bits = bytearray(b"0") * (end - start)
    for first, last in stuck:
        bits[first - start : last - start] = b"1" * (last - first)
    number = int(bits, 2)
    return _varints((start, end - start)) + number.to_bytes((end - start + 7) // 8, "big")


def _read_bits(body: bytes) -> tuple[int, list[Run], int]:
    start, at = _varint(body, 0)
    span, at = _varint(body, at)
    bits = body[at:]
    number = int.from_bytes(bits, "big")
    if len(bits) != (span + 7) // 8 or number.bit_length() > span:
        raise ValueError("a note of the wrong length")
    text = f"{number:0{span}b}" if span else ""
    stuck = [(start + one.start(), start + one.end()) for one in re.finditer("1+", text)]
    return start, stuck, start + span


def _varints(numbers: Iterable[int]) -> bytes:
    out = bytearray()
    for number in numbers:
        rest = number
        while rest > 0x7F:  # noqa: PLR2004  # seven bits a byte
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def _numbers(body: bytes) -> list[int]:
    found, at = [], 0
    while at < len(body):
        number, at = _varint(body, at)
        found.append(number)
    return found


def _varint(body: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while shift < _VARINT_BITS_MAX and at < len(body):
        byte = body[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return number, at
        shift += 7
    raise ValueError("a note that ends too soon")
