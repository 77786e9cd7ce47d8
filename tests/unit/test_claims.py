import base64
from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.unit.captured import BODY, STAMP, Headers, codes, judged, replaced, signed

SIGNATURES: list[tuple[str, Callable[[str], str]]] = [
    ("signature_base64url", lambda text: text.replace("+", "-").replace("/", "_")),
    ("signature_unpadded", lambda text: text.rstrip("=")),
    ("signature_broken", lambda text: text[:64] + "\n" + text[64:]),
    ("signature_broken", lambda text: text[:76] + " " + text[76:]),
    ("signature_plus_lost", lambda text: text.replace("+", " ")),
    ("signature_hex", lambda text: base64.b64decode(text).hex()),
    ("signature_quoted", lambda text: f'"{text}"'),
    ("signature_percent", lambda text: quote(text, safe="")),
    ("signature_prefixed", lambda text: f"v1a,{text}"),
]


def signature_with_specials() -> tuple[Headers, str]:
    """A signature that has the letters transports change; found by trying timestamps."""
    for second in range(1_000):
        headers = signed(stamp=str(int(STAMP) - second % 300), body=BODY)
        text = headers[2][1].decode()
        if "+" in text and "/" in text:
            return headers, text
    raise AssertionError("no signature with + and /")


@pytest.mark.parametrize(("code", "change"), SIGNATURES)
def test_a_signature_written_otherwise_is_proven_and_named(
    code: str, change: Callable[[str], str]
) -> None:
    headers, text = signature_with_specials()
    changed = replaced(headers, "telnyx-signature-ed25519", change(text).encode())
    report = judged(changed)
    assert codes(report) == [code]
    assert report.findings[0].proven
    assert report.status == 401


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("timestamp_milliseconds", "1800000000000"),
        ("timestamp_microseconds", "1800000000000000"),
        ("timestamp_spaces", " 1800000000 "),
        ("timestamp_plus", "+1800000000"),
        ("timestamp_decimal", "1800000000.0"),
        ("timestamp_zeros", "0001800000000"),
        ("timestamp_date", "2027-01-15T08:00:00Z"),
        ("timestamp_date", "Fri, 15 Jan 2027 08:00:00 GMT"),
    ],
)
def test_a_timestamp_written_otherwise_is_proven_and_named(code: str, text: str) -> None:
    report = judged(replaced(signed(), "telnyx-timestamp", text.encode()))
    assert codes(report) == [code]
    assert report.findings[0].proven
    assert report.facts.skew_seconds == 0


def test_a_timestamp_that_was_signed_as_odd_as_it_came_is_proven_too() -> None:
    report = judged(signed(stamp="1800000000000"))
    assert codes(report) == ["timestamp_milliseconds"]
    assert report.findings[0].proven


@pytest.mark.parametrize(
    ("signature_name", "timestamp_name"),
    [
        (b"Telnyx-Signature-Ed25519", b"Telnyx-Signature-Timestamp"),
        (b"X-Telnyx-Signature-Ed25519", b"X-Telnyx-Timestamp"),
        (b"HTTP_TELNYX_SIGNATURE_ED25519", b"HTTP_TELNYX_TIMESTAMP"),
        (b"Telnyx-Signature", b"telnyx_timestamp"),
    ],
)
def test_renamed_headers_are_found_and_proven(signature_name: bytes, timestamp_name: bytes) -> None:
    original = signed()
    headers = [(signature_name, original[2][1]), (timestamp_name, original[3][1])]
    report = judged(headers)
    assert set(codes(report)) == {"header_renamed"}
    assert all(finding.proven for finding in report.findings)
    assert timestamp_name.decode() in report.findings[-1].sentence


def test_duplicated_headers_are_named_and_answered_400() -> None:
    headers = signed()
    report = judged([*headers, headers[3]])
    assert codes(report) == ["header_duplicated"]
    assert report.status == 400
    wrong = judged([(b"telnyx-signature-ed25519", b"A" * 86 + b"=="), *headers])
    assert codes(wrong) == ["header_duplicated"]
    assert wrong.findings[0].proven


def test_joined_duplicates_are_named() -> None:
    headers = signed()
    report = judged(replaced(headers, "telnyx-timestamp", b"1800000000, 1800000000"))
    assert codes(report) == ["header_joined"]
    value = headers[2][1]
    report = judged(replaced(headers, "telnyx-signature-ed25519", value + b"," + value))
    assert codes(report) == ["header_joined"]
    assert report.findings[0].proven
