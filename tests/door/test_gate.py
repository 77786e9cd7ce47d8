"""The gate, fed any bytes: what Telnyx signed passes, and a change of a single byte never does."""

import string

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.gate import Admit, Refuse, Webhook, judge
from tests.door.rig import BODY, KEY, NOW, OTHER_KEY
from trunkline import topics
from trunkline.envelope import Envelope
from trunkline.stream import Delivery, Record

KEYS = (KEY.public,)
NAMES = topics.prefixed("")


def signed(body: bytes, at: float = NOW) -> Webhook:
    timestamp = str(int(at))
    signature = KEY.sign(timestamp, body).encode()
    return Webhook("default", signature, timestamp.encode(), None, None, None, body)


def verdict(webhook: Webhook, now: float = NOW) -> Admit | Refuse:
    return judge(webhook, KEYS, now, 300, NAMES)


def delivered(record: Record) -> Delivery:
    return Delivery(
        record.topic, 0, 0, record.timestamp_ms, record.key, record.value, record.headers
    )


def changed(data: bytes, place: int, mask: int) -> bytes:
    place %= len(data)
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]


bodies = st.binary(max_size=2_000)
masks = st.integers(1, 255)


@given(bodies)
def test_whatever_was_signed_is_admitted_to_the_byte_and_can_be_proven_again(body: bytes) -> None:
    admitted = verdict(signed(body))
    assert isinstance(admitted, Admit)
    assert admitted.record.value == body
    envelope = Envelope.of(delivered(admitted.record))
    assert envelope.proven(KEY.public)
    assert not envelope.proven(OTHER_KEY.public)
    assert envelope.id
    assert envelope.type
    assert admitted.record.key


@given(bodies.filter(len), st.integers(0), masks)
def test_a_change_of_one_byte_of_the_body_is_refused(body: bytes, place: int, mask: int) -> None:
    webhook = signed(body)
    webhook.body = changed(body, place, mask)
    assert isinstance(verdict(webhook), Refuse)


@settings(max_examples=500)
@given(st.integers(0), masks)
def test_a_change_of_one_byte_of_the_signature_is_refused(place: int, mask: int) -> None:
    webhook = signed(BODY)
    assert webhook.signature is not None
    webhook.signature = changed(webhook.signature, place, mask)
    assert isinstance(verdict(webhook), Refuse)


@settings(max_examples=500)
@given(st.integers(0), masks)
def test_a_change_of_one_byte_of_the_timestamp_is_refused(place: int, mask: int) -> None:
    webhook = signed(BODY)
    assert webhook.timestamp is not None
    webhook.timestamp = changed(webhook.timestamp, place, mask)
    assert isinstance(verdict(webhook), Refuse)


@given(bodies, st.integers(0, 2_000), st.binary(min_size=1, max_size=3))
def test_bytes_more_or_fewer_are_refused(body: bytes, place: int, more: bytes) -> None:
    place %= len(body) + 1
    longer, shorter = signed(body), signed(body + more)
    longer.body = body[:place] + more + body[place:]
    shorter.body = body
    assert isinstance(verdict(longer), Refuse)
    assert isinstance(verdict(shorter), Refuse)


@given(st.binary(max_size=100), st.binary(max_size=20), bodies)
def test_noise_is_never_admitted(signature: bytes, timestamp: bytes, body: bytes) -> None:
    webhook = Webhook("default", signature, timestamp, None, None, None, body)
    assert isinstance(verdict(webhook), Refuse)


@given(st.text("0123456789+-_. eExX\u0660", min_size=1, max_size=12))
def test_a_timestamp_that_is_not_ten_digits_is_refused_though_signed(timestamp: str) -> None:
    text = timestamp.encode()
    webhook = signed(BODY)
    webhook.timestamp, webhook.signature = text, KEY.sign(timestamp, BODY).encode()
    plain = len(text) == 10 and set(timestamp) <= set(string.digits)
    fresh = plain and abs(NOW - int(timestamp)) <= 300
    assert isinstance(verdict(webhook), Admit) == fresh


@given(st.integers(-1_000, 1_000))
def test_only_time_decides_whether_an_authentic_webhook_is_fresh(skew: int) -> None:
    assert isinstance(verdict(signed(BODY), NOW + skew), Admit) == (abs(skew) <= 300)


@given(st.integers(0, 63), bodies)
def test_no_signature_moves_to_another_body_or_time(cut: int, body: bytes) -> None:
    """`timestamp|body` must not be cut at another place to mean something else."""
    webhook = signed(b"|" + body)
    webhook.body = body
    assert isinstance(verdict(webhook), Refuse)
    short = signed(body)
    assert short.signature is not None
    short.signature = short.signature[:cut]
    assert isinstance(verdict(short), Refuse)


def test_a_key_not_yet_or_no_longer_in_force_proves_nothing() -> None:
    public = KEY.public
    for limits, reason in (
        ({"not_before": NOW + 1}, "no_key_in_force"),
        ({"not_after": NOW - 1}, "no_key_in_force"),
    ):
        key = type(public)(public.raw, public.text, **limits)
        found = judge(signed(BODY), (key,), NOW, 300, NAMES)
        assert found == Refuse(reason)
        both = judge(signed(BODY), (key, public), NOW, 300, NAMES)
        assert isinstance(both, Admit)
