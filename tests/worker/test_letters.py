"""What a dead letter keeps, and how it is read back."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline import __version__
from trunkline.stream import Delivery, Headers, Record
from trunkline.worker import letters
from trunkline.worker.retries import Trouble

TROUBLE = Trouble(5, 1_700_000_000.25, 1_700_000_009.5, 3.0, 0.0, "KeyError", "'to'")
HEADERS: Headers = (("ce_id", b"7"), ("ce_id", b"\xff"), ("", b""))


def delivery(
    key: bytes | None = b"k", value: bytes | None = b"v", headers: Headers = HEADERS
) -> Delivery:
    return Delivery("telnyx.calls", 3, 42, 1_699_999_999_123, key, value, headers)


def write(dead: Delivery, trouble: Trouble | None = TROUBLE, bytes_max: int = 2_000_000) -> Record:
    return letters.write(
        dead, "calls", "bad number", trouble, 1_700_000_010.0, topic="dead", bytes_max=bytes_max
    )


def delivered(record: Record, offset: int = 0) -> Delivery:
    return Delivery(
        record.topic, 0, offset, record.timestamp_ms, record.key, record.value, record.headers
    )


def size(record: Record) -> int:
    headers = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.key) + len(record.value) + headers


def test_all_that_is_known_of_its_end_can_be_read_back() -> None:
    letter = letters.read(delivered(write(delivery())))
    assert letter == letters.Letter(
        topic="telnyx.calls",
        partition=3,
        offset=42,
        timestamp_ms=1_699_999_999_123,
        processor="calls",
        version=__version__,
        attempts=5,
        first_failed_at=1_700_000_000.25,
        last_failed_at=1_700_000_009.5,
        exception="KeyError",
        message="'to'",
        reason="bad number",
        key=b"k",
        value=b"v",
        headers=HEADERS,
        sha256=None,
        value_bytes=1,
        cut=frozenset(),
    )


def test_one_that_was_never_tried_has_one_attempt_now() -> None:
    letter = letters.read(delivered(write(delivery(), None)))
    assert (letter.attempts, letter.first_failed_at, letter.exception) == (1, 1_700_000_010.0, "")


@given(
    st.none() | st.binary(max_size=50),
    st.none() | st.binary(max_size=500),
    st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.binary())).map(tuple),
)
@settings(deadline=None)
def test_the_original_is_kept_byte_for_byte_also_what_is_null(
    key: bytes | None, value: bytes | None, headers: Headers
) -> None:
    letter = letters.read(delivered(write(delivery(key, value, headers))))
    assert (letter.key, letter.value, letter.headers) == (key, value, headers)


def test_a_letter_that_dies_again_tells_of_its_latest_death() -> None:
    first = delivered(write(delivery()), offset=9)
    letter = letters.read(delivered(write(first, None)))
    assert (letter.topic, letter.offset, letter.attempts) == ("dead", 9, 1)
    assert letter.headers == first.headers
    assert letters.read(Delivery("x", 0, 0, 0, b"", b"", letter.headers)).offset == 42


def test_one_too_large_keeps_its_beginning_its_hash_and_its_origin() -> None:
    value = bytes(range(256)) * 10_000
    record = write(delivery(value=value))
    letter = letters.read(delivered(record))
    assert letter.value == value[: 64 * 1024]
    assert letter.sha256 == hashlib.sha256(value).hexdigest()
    assert letter.value_bytes == len(value)
    assert letter.cut == {"value"}
    assert (letter.headers, letter.key, letter.offset) == (HEADERS, b"k", 42)


@pytest.mark.parametrize(
    ("dead", "cut"),
    [
        (delivery(headers=(("x", bytes(3_000_000)),)), {"value", "headers"}),
        (delivery(key=bytes(2_500_000)), {"value", "key"}),
        (
            delivery(bytes(2_500_000), bytes(1_000), (("x", bytes(90_000)),)),
            {"value", "headers", "key"},
        ),
    ],
)
def test_no_letter_is_larger_than_it_may_be(dead: Delivery, cut: set[str]) -> None:
    record = write(dead)
    assert size(record) <= 2_000_000
    letter = letters.read(delivered(record))
    assert letter.cut == cut
    assert letter.offset == 42


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("tl-dead-topic", b"x"),),
        tuple((name, b"\xff") for name, _ in write(delivery()).headers),
        tuple((name, b"soon") for name, _ in write(delivery()).headers),
    ],
)
def test_what_is_no_dead_letter_is_said_to_be_none(headers: Headers) -> None:
    with pytest.raises(ValueError, match=r"dead letter|decode|invalid"):
        letters.read(delivery(headers=headers))
