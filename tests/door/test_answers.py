"""Every line of the door's table of answers, asked over a raw socket."""

import base64
from collections.abc import Mapping

import pytest

from tests.door.rig import (
    BODY,
    KEY,
    NOW,
    OTHER_KEY,
    chunks,
    head,
    lines_of,
    rig,
    sign,
    sized,
    webhook,
)
from tests.load.webhooks import request
from trunkline import topics
from trunkline.clock import rfc3339
from trunkline.envelope import Envelope

NOT_AUTHENTIC = b'{"error":"not authentic"}'


async def test_an_honest_webhook_is_answered_200_and_kept_to_the_byte() -> None:
    async with rig() as door:
        got = await door.ask(webhook())
        assert (got.status, got.body) == (200, b"")
        assert "connection" not in got.headers
        (delivery,) = door.stream.records
        assert delivery.value == BODY
        assert delivery.topic == topics.CALLS
        assert delivery.key == b"s-1"
        envelope = Envelope.of(delivery)
        assert envelope.proven(KEY.public)
        assert (envelope.id, envelope.type) == ("e-1", "call.initiated")
        assert envelope.headers["tl-key"] == KEY.public.text
        assert envelope.headers["tl-account"] == "default"
        assert envelope.headers["tl-received-at"] == rfc3339(NOW)
        assert door.count("accepted") == door.received == 1


async def test_an_account_has_its_own_path_and_keys() -> None:
    async with rig() as door:
        signed = sign(BODY, key=OTHER_KEY)
        ours = request(BODY, signed["telnyx-timestamp"], signed["telnyx-signature-ed25519"])
        theirs = ours.replace(b"/webhooks/telnyx ", b"/webhooks/telnyx/acme ")
        assert (await door.ask(ours)).status == 401
        assert (await door.ask(theirs)).status == 200
        assert (await door.ask(webhook(path="/webhooks/telnyx/default"))).status == 200
        assert [Envelope.of(one).account for one in door.stream.records] == ["acme", "default"]


BAD_PROOFS: dict[str, Mapping[str, str | None]] = {
    "missing_signature": {"telnyx-signature-ed25519": None},
    "missing_timestamp": {"telnyx-timestamp": None},
    "stale_timestamp": sign(BODY, NOW - 301),
    "future_timestamp": sign(BODY, NOW + 301),
    "wrong_signature": sign(BODY, key=OTHER_KEY),
    "malformed_signature": {"telnyx-signature-ed25519": "AAAA"},
    "malformed_timestamp": {"telnyx-timestamp": "0x12345678"},
}


@pytest.mark.parametrize("reason", BAD_PROOFS)
async def test_whatever_is_wrong_with_the_proof_the_answer_is_the_same(reason: str) -> None:
    fields = {**sign(BODY), **BAD_PROOFS[reason]}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    async with rig() as door:
        wire = await door.wire()
        await wire.send(head("Host: x", f"Content-Length: {len(BODY)}", *lines) + BODY)
        got = await wire.answer()
        assert (got.status, got.body) == (401, NOT_AUTHENTIC)
        assert got.headers == {"content-type": "application/json", "content-length": "25"}
        await wire.send(webhook())
        assert (await wire.answer()).status == 200, "a refused webhook ends no connection"
        assert door.refused(reason) == door.count("refused") == 1


def _odd_signatures() -> list[str]:
    good = sign(BODY)["telnyx-signature-ed25519"]
    raw = base64.b64decode(good)
    # The last character before `==` carries 4 unused bits: not canonical if any is set.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    loose = good[:85] + alphabet[alphabet.index(good[85]) | 1] + "=="
    return [
        loose,
        good.rstrip("="),
        good + "=",
        good + "AAAA",
        good[:40] + " " + good[40:],
        "=" + good,
        base64.urlsafe_b64encode(b"\xff" * 64).decode(),
        raw.hex(),
        base64.b64encode(raw[:63]).decode(),
        base64.b64encode(raw + b"\0").decode(),
        '"' + good + '"',
        good + "," + good,
        "é" * 44,
    ]


@pytest.mark.parametrize("signature", _odd_signatures())
async def test_only_the_one_form_of_a_signature_is_accepted(signature: str) -> None:
    async with rig() as door:
        got = await door.ask(request(BODY, str(int(NOW)), "@@").replace(b"@@", signature.encode()))
        assert got.status == 401
        assert door.bodies == []


@pytest.mark.parametrize(
    "timestamp",
    ["170000000", "17000000000", "+170000000", "-700000000", "1700000000.0", "1_700_0000", "1e9",
     "٠١٢٣٤٥٦٧٨٩", "17000 0000", "NaN", "0000000000", "9999999999", "01700000000"],
)  # fmt: skip
async def test_only_ten_plain_digits_are_a_timestamp(timestamp: str) -> None:
    signature = KEY.sign(timestamp, BODY)  # even if Telnyx itself had signed it
    async with rig() as door:
        got = await door.ask(request(BODY, timestamp, signature))
        assert got.status == 401
        assert door.bodies == []


@pytest.mark.parametrize(("skew", "status"), [(300, 200), (-300, 200), (301, 401), (-301, 401)])
async def test_a_timestamp_may_be_five_minutes_off_to_the_second(skew: int, status: int) -> None:
    async with rig() as door:
        assert (await door.ask(webhook(at=NOW + skew))).status == status


async def test_version_1_flat_webhooks_are_refused_like_anything_unsigned() -> None:
    body = b'{"id":"m-1","event_type":"call_initiated","created_at":"2020-01-01T00:00:00Z"}'
    async with rig() as door:
        got = await door.ask(head("Host: x", f"Content-Length: {len(body)}") + body)
        assert (got.status, got.body) == (401, NOT_AUTHENTIC)
        assert door.refused("missing_signature") == 1


async def test_an_event_without_the_data_wrapper_is_an_event() -> None:
    body = b'{"id":"v-1","event_type":"video.room.session.started","payload":{"session_id":"r-1"}}'
    async with rig() as door:
        assert (await door.ask(webhook(body))).status == 200
        (delivery,) = door.stream.records
        assert (delivery.topic, delivery.key, delivery.value) == (topics.VIDEO, b"r-1", body)


async def test_a_texml_form_is_kept_under_the_call_it_belongs_to() -> None:
    body = b"CallSid=v3%3Aabc&CallStatus=completed&CallSessionId=s-9"
    lines = [*lines_of(body), "Content-Type: application/x-www-form-urlencoded; charset=utf-8"]
    async with rig() as door:
        assert (await door.ask(head(*lines) + body)).status == 200
        (delivery,) = door.stream.records
        assert (delivery.key, delivery.value) == (b"s-9", body)
        assert Envelope.of(delivery).type == "texml.callback"


UNREADABLE = {
    "empty": b"",
    "not_json": b"{]",
    "not_utf8": b'{"id":"\xff","event_type":"a"}',
    "not_an_object": b"[1]",
    "too_deep": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "duplicate_keys": b'{"id":"1","id":"2","event_type":"a"}',
    "missing_id": b'{"data":{"event_type":"a"}}',
    "missing_type": b'{"data":{"id":"1"}}',
    "illegal_id": b'{"data":{"id":"a b","event_type":"a"}}',
    "illegal_type": b'{"data":{"id":"1","event_type":"' + b"a" * 201 + b'"}}',
}


@pytest.mark.parametrize("reason", UNREADABLE)
async def test_what_is_authentic_but_unreadable_is_kept_in_quarantine(reason: str) -> None:
    body = UNREADABLE[reason]
    async with rig() as door:
        assert (await door.ask(webhook(body))).status == 200
        (delivery,) = door.stream.records
        assert delivery.topic == topics.QUARANTINE
        assert delivery.value == body
        envelope = Envelope.of(delivery)
        assert envelope.headers["tl-reason"] == reason
        assert envelope.type == "trunkline.unreadable"
        assert envelope.proven(KEY.public)
        assert door.count("quarantined") == door.received == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":{"id":"1","event_type":"a","\\u0069d":"2"}}',
        b'{"data":{"id":"1","event_type":"a"},"data":{"id":"2","event_type":"b"}}',
        b'{"data":{"id":"1","event_type":"a","payload":{},"payload":{"call_session_id":"x"}}}',
    ],
)
async def test_a_key_written_twice_in_any_disguise_goes_to_quarantine(body: bytes) -> None:
    async with rig() as door:
        assert (await door.ask(webhook(body))).status == 200
        assert [one.topic for one in door.stream.records] == [topics.QUARANTINE]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/", 404),
        ("/webhooks", 404),
        ("/webhooks/telnyx/", 404),
        ("/webhooks/telnyx/nobody", 404),
        ("/webhooks/telnyx/acme/", 404),
        ("/webhooks/telnyx/../telnyx", 404),
        ("/webhooks/%74elnyx", 404),
        ("/webhooks/telnyx%2e", 404),
        ("//webhooks/telnyx", 404),
        ("/Webhooks/telnyx", 404),
        ("/webhooks/telnyx;a=b", 404),
        ("*", 404),
        ("/webhooks/telnyx?x=1&y", 200),
        ("http://door.example/webhooks/telnyx", 200),
        ("HTTPS://door.example/webhooks/telnyx?q", 200),
        ("http://door.example/", 404),
        ("http://door.example", 404),
    ],
)
async def test_targets_are_compared_to_the_byte(target: str, status: int) -> None:
    async with rig() as door:
        assert (await door.ask(head(*lines_of(), target=target) + BODY)).status == status
        assert len(door.bodies) == (status == 200)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "DELETE", "PATCH", "TRACE"])
async def test_only_post_is_allowed(method: str) -> None:
    async with rig() as door:
        got = await door.ask(head(*lines_of(), method=method) + BODY)
        assert (got.status, got.headers["allow"]) == (405, "POST")
        assert got.headers["connection"] == "close"


async def test_any_content_encoding_is_refused() -> None:
    async with rig() as door:
        for coding in ("gzip", "identity", "br", ""):
            got = await door.ask(head(*lines_of(), f"Content-Encoding: {coding}") + BODY)
            assert got.status == 415


@pytest.mark.parametrize(("size", "status"), [(1_000_000, 200), (1_000_001, 413)])
async def test_a_body_may_have_a_million_bytes_declared_or_streamed(size: int, status: int) -> None:
    body = sized(size)
    async with rig() as door:
        assert (await door.ask(head(*lines_of(body)) + body)).status == status
        streamed = head(*lines_of(body, length=False), "Transfer-Encoding: chunked")
        whole = streamed + chunks(body, *[65_536] * 16)
        assert (await door.ask(whole)).status == status
        assert door.bodies == ([body] if status == 200 else [])  # the second is a duplicate


async def test_a_declared_size_is_refused_before_any_body_is_sent() -> None:
    async with rig() as door:
        for size in ("1000001", "99999999999", "18446744073709551615"):
            lines = ["Host: x", f"Content-Length: {size}"]
            assert (await door.ask(head(*lines))).status == 413
