import base64
import gzip
import json
from collections.abc import Callable
from urllib.parse import parse_qsl, quote, urlencode

import pytest

from tests.unit.captured import BODY, NOW, codes, dumped, judged, signed
from trunkline.events.samples import texml

TAMPERINGS: list[tuple[str, str, Callable[[bytes], bytes]]] = [
    ("newline_added", "an editor's newline", lambda body: body + b"\n"),
    ("newline_added", "a CR LF", lambda body: body + b"\r\n"),
    ("whitespace_added", "spaces", lambda body: b"  " + body + b" \n"),
    ("bom_added", "a byte order mark", lambda body: b"\xef\xbb\xbf" + body),
    ("double_encoded", "mojibake", lambda body: body.decode("latin-1").encode()),
    ("double_encoded", "mojibake of Windows", lambda body: body.decode("cp1252").encode()),
    ("transcoded", "Latin-1", lambda body: body.decode().encode("latin-1")),
    ("base64_wrapped", "base64", base64.b64encode),
    ("base64_wrapped", "base64 in lines", base64.encodebytes),
    ("json_wrapped", "a JSON string", lambda body: json.dumps(body.decode()).encode()),
    (
        "json_wrapped",
        "a gateway's event",
        lambda body: json.dumps(
            {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
        ).encode(),
    ),
    ("compressed", "gzip", gzip.compress),
    ("json_rewritten", "Python's json", dumped()),
    ("json_rewritten", "Python's json, not escaped", dumped(ensure_ascii=False)),
    ("json_rewritten", "compact but escaped", dumped(separators=(",", ":"))),
    ("json_rewritten", "pretty", dumped(indent=2, ensure_ascii=False)),
    ("json_rewritten", "prettier", dumped(indent=4)),
    (
        "json_rewritten",
        "PHP",
        lambda body: dumped(separators=(",", ":"))(body).replace(b"/", b"\\/"),
    ),
    ("json_rewritten", "slashes escaped", lambda body: body.replace(b"/", b"\\/")),
]


@pytest.mark.parametrize(("code", "name", "tamper"), TAMPERINGS)
def test_a_change_of_the_body_is_proven_and_named(
    code: str, name: str, tamper: Callable[[bytes], bytes]
) -> None:
    body = tamper(BODY)
    assert body != BODY, name
    report = judged(signed(), body)
    assert not report.accepted
    assert report.status == 401
    assert codes(report)[0] == code
    assert report.findings[0].proven
    assert report.facts.verifications <= 4 * 60


ORIGINALS: list[tuple[str, bytes, Callable[[bytes], bytes]]] = [
    ("newline_stripped", BODY + b"\n", bytes.strip),
    ("newline_stripped", BODY + b"\r\n", bytes.strip),
    ("bom_stripped", b"\xef\xbb\xbf" + BODY, lambda body: body[3:]),
    ("newlines_changed", dumped(indent=2)(BODY), lambda body: body.replace(b"\n", b"\r\n")),
    (
        "newlines_changed",
        dumped(indent=3)(BODY).replace(b"\n", b"\r\n"),
        lambda body: body.replace(b"\r\n", b"\n"),
    ),
    ("json_rewritten", dumped()(BODY), dumped(separators=(",", ":"), ensure_ascii=False)),
    (
        "json_rewritten",
        dumped(separators=(",", ":"), sort_keys=True, ensure_ascii=False)(BODY),
        lambda _: BODY,
    ),
    ("json_rewritten", dumped(sort_keys=True)(BODY), dumped(indent=2)),
    (
        "json_rewritten",
        b'{"id":1.0,"n":1e2,"big":12345678901234567890123}',
        lambda body: body.replace(b",", b", "),
    ),
    (
        "form_reencoded",
        texml(number=1, now=NOW),
        lambda body: urlencode(parse_qsl(body.decode()), quote_via=quote, safe=":").encode(),
    ),
    (
        "form_reencoded",
        b"From=%2B13125550101&Name=Ana+Maria&Note=a%2Fb",
        lambda body: body.replace(b"+", b"%20"),
    ),
    (
        "form_reencoded",
        b"From=%2B13125550101&Name=Ana%20Maria",
        lambda body: body.replace(b"%20", b"+"),
    ),
    (
        "form_reencoded",
        b"From=%2b13125550101&Name=Ana+Maria",
        lambda body: body.replace(b"%2b", b"%2B"),
    ),
    (
        "form_decoded",
        b"From=%2B13125550101&CallSid=v3%3Aabc&Name=Ana+Maria",
        lambda _: b"From=+13125550101&CallSid=v3:abc&Name=Ana Maria",
    ),
]


@pytest.mark.parametrize(("code", "original", "tamper"), ORIGINALS)
def test_what_was_signed_is_found_behind_what_came(
    code: str, original: bytes, tamper: Callable[[bytes], bytes]
) -> None:
    body = tamper(original)
    report = judged(signed(original), body)
    assert codes(report)[0] == code
    assert report.findings[0].proven


def test_a_number_that_a_parser_changed_is_not_guessed() -> None:
    original = b'{"id":1.50,"n":1e2}'
    assert codes(judged(signed(original), dumped()(original)))[0] == "unexplained"


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000, b"%" * 5_000, b"=&" * 5_000, b'"'],
)
def test_hostile_bodies_are_explained_within_bounds(body: bytes) -> None:
    report = judged(signed(), body)
    assert codes(report)[0] == "unexplained"
    assert report.facts.verifications <= 4 * 60
