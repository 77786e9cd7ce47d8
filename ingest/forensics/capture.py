"""Reads a captured request head as people have it: raw HTTP, curl -v, lines or JSON. Pure."""

import json
import re
from typing import Any
from urllib.parse import urlsplit

from trunkline.mask import printable

Head = tuple[str, str, list[tuple[bytes, bytes]]]

_REQUEST_LINE = re.compile(rb"([A-Z]{3,10}) (\S+)(?: HTTP/[0-9.]+)?")
_METHOD_FIELDS = ("method", "httpMethod", "request_method")
_TARGET_FIELDS = ("target", "path", "url", "rawPath", "uri")
_HEADER_FIELDS = ("headers", "multiValueHeaders", "header")


def parse_head(text: bytes) -> Head:
    """Method, target ("" if not told) and headers; a ValueError says what cannot be read."""
    text = text.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] in (b"{", b"["):
        return _parse_json(text)
    lines = text.splitlines()
    if any(line.startswith((b"> ", b"* ")) for line in lines):
        # curl -v: `>` is what was sent; `<`, `*` and the rest are answers and remarks.
        lines = [line[2:] for line in lines if line.startswith(b"> ") or line == b">"]
    return _parse_lines(lines)


def _parse_lines(lines: list[bytes]) -> Head:
    method, target = "POST", ""
    headers: list[tuple[bytes, bytes]] = []
    for number, line in enumerate(lines):
        request = _REQUEST_LINE.fullmatch(line.strip()) if number == 0 else None
        if request:
            method, target = request[1].decode(), request[2].decode("latin-1")
        elif not line.strip():
            break
        elif line[:1] in b" \t" and headers:
            name, value = headers[-1]
            headers[-1] = (name, value + b" " + line.strip())
        elif line[:1] == b":":
            # HTTP/2 writes its request line as headers.
            name, _, value = line[1:].partition(b":")
            method = value.strip().decode("latin-1") if name == b"method" else method
            target = value.strip().decode("latin-1") if name == b"path" else target
        else:
            headers.append(_parse_line(line))
    return method, target, headers


def _parse_line(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name.strip():
        raise ValueError(f"not a header, it has no `Name: value`: {printable(line, 60)}")
    return name.strip(), value.strip(b" \t")


def _parse_json(text: bytes) -> Head:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the head begins like JSON and is none: {error}") from None
    if isinstance(document, list):
        return "POST", "", _pairs(document)
    headers = next(
        (document[name] for name in _HEADER_FIELDS if isinstance(document.get(name), dict | list)),
        None,
    )
    if headers is None:
        return "POST", "", _pairs(document)
    target = urlsplit(_text(document, _TARGET_FIELDS, ""))
    path = target.path + (f"?{target.query}" if target.query else "")
    return _text(document, _METHOD_FIELDS, "POST"), path, _pairs(headers)


def _text(document: dict[str, Any], names: tuple[str, ...], default: str) -> str:
    found = (document[name] for name in names if isinstance(document.get(name), str))
    return next(found, default)


def _pairs(headers: Any) -> list[tuple[bytes, bytes]]:
    """{"name": "value"}, {"name": ["value", …]}, [["name", "value"], …] or [{"name", "value"}]."""
    pairs: list[tuple[bytes, bytes]] = []
    for entry in headers.items() if isinstance(headers, dict) else headers:
        if isinstance(entry, dict):
            name, value = entry.get("name"), entry.get("value")
        elif isinstance(entry, list | tuple) and len(entry) == 2:  # noqa: PLR2004  # a pair
            name, value = entry
        else:
            raise ValueError("the headers in the JSON are neither an object nor pairs")
        pairs += [_pair(name, one) for one in (value if isinstance(value, list) else [value])]
    return pairs


def _pair(name: object, value: object) -> tuple[bytes, bytes]:
    match name, value:
        case str(), str() | int():
            return name.encode("utf-8", "surrogatepass"), str(value).encode(
                "utf-8", "surrogatepass"
            )
    raise ValueError(f"the header {printable(str(name), 60)} has no text as its value")
