import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.forensics.report import as_dict, render
from ingest.gate import Admit, Webhook, judge
from tests.unit.captured import (
    ACCOUNTS,
    BODY,
    NOW,
    OURS,
    THEIRS,
    TOLERANCE,
    Headers,
    codes,
    dumped,
    judged,
    signed,
)
from trunkline.keys import PublicKey


def test_an_authentic_request_is_accepted_and_nothing_is_found() -> None:
    report = judged(signed())
    assert report.accepted
    assert report.status == 200
    assert report.findings == ()
    assert report.checklist == ()
    assert report.facts.verifications == 1
    assert report.facts.body_looks == "JSON of version 2"
    assert [(key.account, key.fits) for key in report.facts.keys] == [
        ("main", True),
        ("other", False),
    ]


def test_a_right_signature_that_came_too_late_says_by_how_much() -> None:
    report = judged(signed(), changes={"now": NOW + 725})
    assert codes(report) == ["timestamp_old"]
    assert report.findings[0].proven
    assert "12 min 5 s" in report.findings[0].sentence
    assert "queue" in report.findings[0].hint
    early = judged(signed(), changes={"now": NOW - 400})
    assert codes(early) == ["timestamp_future"]
    assert "6 min 40 s" in early.findings[0].sentence


def test_an_old_and_changed_body_gets_both_findings() -> None:
    report = judged(signed(), BODY + b"\n", changes={"now": NOW + 7_200})
    assert codes(report) == ["newline_added", "timestamp_old"]


def test_the_key_of_another_account_is_named() -> None:
    report = judged(signed(key=THEIRS))
    assert codes(report) == ["another_account"]
    assert "'other'" in report.findings[0].sentence
    assert "/webhooks/telnyx/other" in report.findings[0].hint


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"not_before": NOW + 60}, "key_not_yet"),
        ({"not_after": NOW - 60}, "key_no_more"),
    ],
)
def test_a_key_out_of_force_is_named(limits: dict[str, float], code: str) -> None:
    key = PublicKey(OURS.public.raw, OURS.public.text, **limits)
    report = judged(signed(), changes={"accounts": {"main": (key, THEIRS.public)}})
    assert codes(report) == [code]
    assert report.facts.keys[1].fits
    assert report.facts.keys[1].state.startswith("not ")


@pytest.mark.parametrize(
    ("changes", "code", "status"),
    [
        ({"target": "/webhook"}, "unknown_path", 404),
        ({"target": "/webhooks/telnyx/nobody"}, "unknown_account", 404),
        ({"target": "/webhooks/telnyx"}, "unknown_account", 404),
        ({"method": "GET"}, "method", 405),
    ],
)
def test_what_is_wrong_before_any_signature_is_said_first(
    changes: dict[str, Any], code: str, status: int
) -> None:
    report = judged(signed(), changes=changes)
    assert codes(report)[0] == code
    assert report.status == status


def test_what_is_ambiguous_is_answered_400_whatever_else_is_wrong() -> None:
    headers = [*signed(), (b"host", b"elsewhere.example.com")]
    report = judged(headers, changes={"target": "/webhook"})
    assert codes(report) == ["header_duplicated", "unknown_path"]
    assert report.status == 400


def test_a_compressed_or_too_large_body_is_refused_as_the_door_does() -> None:
    report = judged([*signed(), (b"Content-Encoding", b"gzip")])
    assert codes(report) == ["content_encoding"]
    assert report.status == 415
    large = b'{"a":"' + b"x" * 1_000_000 + b'"}'
    report = judged(signed(large), large)
    assert "body_too_large" in codes(report)
    assert report.status == 413
    assert report.facts.verifications == 0


def test_other_schemes_and_version_1_are_told_from_a_lost_header() -> None:
    headers = [(b"webhook-id", b"m1"), (b"webhook-signature", b"v1,abc")]
    assert codes(judged(headers))[0] == "other_scheme"
    flat = b'{"id":"1","event_type":"call_initiated","created_at":"x","payload":{}}'
    report = judged([], flat)
    assert codes(report) == ["version_1", "unsigned"]
    assert 'webhook_api_version to "2"' in report.findings[0].hint
    assert codes(judged(signed()[:3])) == ["header_missing"]


def test_what_cannot_be_guessed_is_admitted_with_a_list_to_check() -> None:
    headers = [
        *signed(),
        (b"Via", b"1.1 proxy"),
        (b"CF-Ray", b"8a"),
        (b"Content-Length", b"17"),
    ]
    report = judged(headers, BODY.replace(b"incoming", b"outgoing"))
    assert codes(report) == ["unexplained", "length_differs", "proxy_seen"]
    assert "cannot guess" in report.findings[0].sentence
    assert "Cloudflare" in report.findings[2].sentence
    assert not any(finding.proven for finding in report.findings)
    assert len(report.checklist) == 5
    assert report.facts.verifications <= 4 * 60


def test_lost_characters_sorted_keys_and_web_pages_are_pointed_at() -> None:
    lossy = BODY.decode("ascii", "replace").encode()
    assert "characters_lost" in codes(judged(signed(), lossy))
    assert "keys_sorted" in codes(judged(signed(), dumped(sort_keys=True)(BODY)))
    assert "html" in codes(judged(signed(), b"<!DOCTYPE html><html></html>"))


def test_an_authentic_body_that_nobody_can_read_is_accepted_for_quarantine() -> None:
    report = judged(signed(b"<xml/>"), b"<xml/>")
    assert report.accepted
    assert "quarantine" in report.facts.body_looks


def test_a_captured_request_without_its_path_is_judged_by_every_key() -> None:
    assert judged(signed(key=THEIRS), changes={"target": ""}).accepted


def test_method_and_target_may_be_bytes_as_a_socket_gives_them() -> None:
    assert judged(
        signed(), changes={"method": b"POST", "target": b"/webhooks/telnyx/main"}
    ).accepted


@given(
    st.sampled_from(["body", "timestamp", "signature", "none"]),
    st.integers(min_value=0, max_value=10_000),
    st.integers(min_value=-400, max_value=400),
)
def test_forensics_and_the_gate_agree(part: str, place: int, lateness: int) -> None:
    headers, body = signed(), bytearray(BODY)
    stamp, signature = bytearray(headers[3][1]), bytearray(headers[2][1])
    changed = {"body": body, "timestamp": stamp, "signature": signature}.get(part)
    if changed is not None:
        changed[place % len(changed)] ^= 1
    webhook = Webhook(
        "main", bytes(signature), bytes(stamp), b"application/json", None, None, bytes(body)
    )
    verdict = judge(webhook, ACCOUNTS["main"], NOW + lateness, TOLERANCE, str)
    given_headers = [*headers[:2], (headers[2][0], bytes(signature)), (headers[3][0], bytes(stamp))]
    report = judged(given_headers, bytes(body), changes={"now": NOW + lateness})
    assert report.accepted == isinstance(verdict, Admit)


@given(
    st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=100)), max_size=6),
    st.binary(max_size=300),
    st.text(max_size=40),
)
def test_anything_may_be_explained(headers: Headers, body: bytes, target: str) -> None:
    named = [*headers, (b"telnyx-signature-ed25519", body[:100]), (b"telnyx-timestamp", body[:12])]
    report = judged(named, body, changes={"target": target})
    assert not report.accepted
    shown = render(report)
    assert all(line.isprintable() for line in shown.split("\n"))
    json.dumps(as_dict(report))


def test_a_rendered_report_is_safe_and_says_the_verdict_first() -> None:
    headers = [
        *signed(),
        (b"X-\x1b[2J", b"evil"),
        (b"User-Agent", b"a\nFORGED \x1b[31m +13125550101"),
    ]
    text = render(
        judged(headers, BODY + b"\n", changes={"target": "/webhooks/telnyx/main?a=\x1b]0;x"})
    )
    assert text.startswith(
        "REFUSED (401)\n\n- the body was changed on the way: a newline was added"
    )
    assert "\x1b" not in text
    assert not re.search(r"^FORGED", text, re.MULTILINE)
    assert "3125550101" not in text
    assert "fits" in text


def test_a_report_as_a_dictionary_is_plain_json() -> None:
    plain = json.loads(json.dumps(as_dict(judged(signed(), BODY + b"\n"))))
    assert plain["accepted"] is False
    assert plain["findings"][0]["code"] == "newline_added"
    assert plain["summary"].startswith("REFUSED")
    assert plain["facts"]["keys"][0] == {
        "account": "main",
        "key": OURS.public.name,
        "fits": True,
        "state": "in force",
    }
