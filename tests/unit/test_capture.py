import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.forensics.capture import parse_head

RAW = (
    b"POST /webhooks/telnyx/main HTTP/1.1\r\nHost: hooks.example.com\r\n"
    b"Telnyx-Timestamp: 1800000000\r\nTelnyx-Signature-Ed25519: abc\r\n  def\r\n\r\nignored: yes"
)
CURL = b"""*   Trying 127.0.0.1:8080...
* Connected to localhost (127.0.0.1) port 8080
> POST /webhooks/telnyx/main HTTP/1.1
> Host: hooks.example.com
> Telnyx-Timestamp: 1800000000
> Telnyx-Signature-Ed25519: abc def
>
< HTTP/1.1 401 Unauthorized
< content-length: 25
"""
HTTP2 = b""":method: POST
:path: /webhooks/telnyx/main
Host: hooks.example.com
Telnyx-Timestamp: 1800000000
Telnyx-Signature-Ed25519: abc def
"""
EVENT = b"""{"httpMethod": "POST", "path": "/webhooks/telnyx/main", "headers": {
"Host": "hooks.example.com", "Telnyx-Timestamp": 1800000000,
"Telnyx-Signature-Ed25519": ["abc def"]}}"""
FIELDS = [
    (b"Host", b"hooks.example.com"),
    (b"Telnyx-Timestamp", b"1800000000"),
    (b"Telnyx-Signature-Ed25519", b"abc def"),
]


@pytest.mark.parametrize("text", [RAW, CURL, HTTP2, EVENT])
def test_a_head_is_read_in_every_form_people_have_it(text: bytes) -> None:
    assert parse_head(text) == ("POST", "/webhooks/telnyx/main", FIELDS)


def test_headers_alone_are_a_head_of_unknown_path() -> None:
    lines = b"\n".join(name + b": " + value for name, value in FIELDS)
    plain = json.dumps({name.decode(): value.decode() for name, value in FIELDS}).encode()
    pairs = json.dumps([[name.decode(), value.decode()] for name, value in FIELDS]).encode()
    named = json.dumps(
        [{"name": name.decode(), "value": value.decode()} for name, value in FIELDS]
    ).encode()
    for text in (lines, plain, pairs, named):
        assert parse_head(text) == ("POST", "", FIELDS)


@pytest.mark.parametrize(
    "text", [b"no header at all", b"{not json", b'{"a": {"b": 1}}', b"[1]", b'{"a": null}']
)
def test_a_head_that_cannot_be_read_says_so_in_words(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a header|is none|no text|nor pairs"):
        parse_head(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_a_value_error(text: bytes) -> None:
    try:
        method, target, headers = parse_head(text)
    except ValueError:
        return
    assert isinstance(method, str)
    assert isinstance(target, str)
    assert all(name for name, _ in headers)
