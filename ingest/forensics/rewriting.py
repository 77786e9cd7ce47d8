"""The same JSON as other programs write it: spaces, escapes, order of keys. Pure."""

import json
import re
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

# Writing a megabyte of JSON in forty styles takes seconds; the likeliest few have to do.
_STYLED_BYTES_MAX, _STYLES_OF_LARGE_MAX = 16_384, 8
_DEPTH_MAX = 100
_BOM = b"\xef\xbb\xbf"

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+', re.DOTALL)
# The space JSON writers leave: after a comma, after a colon, and for each level.
_SPACINGS = (
    ("without spaces", b",", b":", 0),
    ("with a space after commas and colons", b", ", b": ", 0),
    ("indented by two", b",", b": ", 2),
    ("indented by four", b",", b": ", 4),
)
_ESCAPES = (
    ("", None, False),
    (", non-ASCII characters as they are", False, False),
    (", non-ASCII characters escaped", True, False),
    (", slashes escaped", False, True),
    (", non-ASCII characters and slashes escaped", True, True),
)


def rewritings(body: bytes) -> Iterator[tuple[bytes, str]]:
    """Bodies and how each is written. Tokens are kept: parsing alone may change a number."""
    tokens = _tokens(body)
    if not tokens:
        return
    orders = [("", tokens)]
    arranged = _sorted(tokens)
    if arranged is not None:
        orders.append((", keys sorted", arranged))
    styles = sorted(product(_SPACINGS, _ESCAPES, orders), key=_rarity(orders))
    if len(body) > _STYLED_BYTES_MAX:
        styles = styles[:_STYLES_OF_LARGE_MAX]
    for (name, comma, colon, indent), (escapes, ascii_only, slashes), (order, ordered) in styles:
        words = [_restyle(token, ascii_only=ascii_only, slashes=slashes) for token in ordered]
        yield _write(words, comma, colon, indent), f"{name}{escapes}{order}"


def _rarity(orders: list[tuple[str, list[bytes]]]) -> Callable[[tuple[Any, Any, Any]], int]:
    return lambda style: (
        _SPACINGS.index(style[0]) + _ESCAPES.index(style[1]) + (style[2] is not orders[0])
    )


def parse(body: bytes) -> Any:
    """The JSON document, or None; a stranger's depth must not reach our stack."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _tokens(body: bytes) -> list[bytes]:
    text = body.removeprefix(_BOM).strip()
    if text[:1] not in (b"{", b"[") or parse(text) is None:
        return []
    return _TOKEN.findall(text)


def _restyle(token: bytes, *, ascii_only: bool | None, slashes: bool) -> bytes:
    if token[:1] != b'"' or ascii_only is None:
        return token
    written = json.dumps(json.loads(token), ensure_ascii=ascii_only)
    text = written.encode("utf-8", "surrogatepass")
    return text.replace(b"/", b"\\/") if slashes else text


def _write(tokens: list[bytes], comma: bytes, colon: bytes, indent: int) -> bytes:
    parts, depth = [], 0
    for index, token in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else b""
        if token in (b"}", b"]"):
            depth -= 1
            if indent and tokens[index - 1] not in (b"{", b"["):
                parts.append(b"\n" + b" " * indent * depth)
        parts.append({b",": comma, b":": colon}.get(token, token))
        if token in (b"{", b"["):
            depth += 1
            if indent and following not in (b"}", b"]"):
                parts.append(b"\n" + b" " * indent * depth)
        elif token == b"," and indent:
            parts.append(b"\n" + b" " * indent * depth)
    return b"".join(parts)


def _sorted(tokens: list[bytes]) -> list[bytes] | None:
    """The same tokens with the members of every object in order of their names."""
    stack: list[list[list[bytes]]] = []  # for each open object or array, its members so far
    openers: list[bytes] = []
    for token in tokens:
        if token in (b"{", b"["):
            if len(stack) >= _DEPTH_MAX:
                return None
            stack.append([[]])
            openers.append(token)
            continue
        if token == b",":
            stack[-1].append([])
            continue
        value = [token]
        if token in (b"}", b"]"):
            value = _close(openers.pop(), stack.pop(), token)
        if not stack:
            return value
        stack[-1][-1].extend(value)
    return None


def _close(opener: bytes, members: list[list[bytes]], closer: bytes) -> list[bytes]:
    if opener == b"{" and members != [[]]:
        members.sort(key=lambda member: str(json.loads(member[0])))
    joined = [opener]
    for index, member in enumerate(members):
        joined += [b",", *member] if index else member
    return [*joined, closer]
