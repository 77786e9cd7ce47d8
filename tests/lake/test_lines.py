"""What a line of the lake says, and where it is put."""

import json
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as some

from processors.publish import entry
from tests.lake.words import START_MS, delivery, lines, raw
from trunkline.stream import Delivery

NAME = "telnyx.calls-0-00000000000000000005-00000000000000000009.jsonl"


def placed(record: Delivery) -> tuple[str, bytes]:
    return entry(record, 5, 9)


def line_of(record: Delivery) -> dict[str, object]:
    (line,) = lines(placed(record)[1])
    return line


def with_value(value: bytes | None) -> Delivery:
    return delivery(7, value=value)


def test_a_line_says_where_the_record_was_and_what_it_held() -> None:
    name, line = placed(delivery(7, kind="call.answered", value=b'{"a":[1,2.50]}'))
    assert name == f"lake/date=2025-12-31/kind=call.answered/{NAME}"
    assert line == (
        b'{"topic":"telnyx.calls","partition":0,"offset":7,"id":"id-7","type":"call.answered",'
        b'"key":"key","account":"default","received_at":"2025-12-31T23:59:55.000Z",'
        b'"event":{"a":[1,2.50]}}\n'
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"n":123456789012345678901234567890,"f":1.10,"e":1E2,"s":"\\/\\u00e9"}',
        b'[{"k":1},{"k":1}]',
        b'"text"',
        b"5",
        b"false",
    ],
)
def test_an_event_is_the_body_to_the_digit(body: bytes) -> None:
    assert placed(with_value(body))[1].endswith(b'"event":' + body + b"}\n")


def test_a_body_over_many_lines_is_one_line() -> None:
    body = b'\r\n{\n  "a": "b\\nc",\r\n  "d": 1\n}\n'
    assert line_of(with_value(body))["event"] == {"a": "b\nc", "d": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"From=%2B1",
        b"\xff\xfe",
        b'{"a":1',
        b'{"a":1,"a":2}',
        b'{"a":{"b":1, "b":2}}',
        b"NaN",
        b'"\\ud800"',
        b"[" * 300 + b"]" * 300,
        b"[" * 2_000 + b"]" * 2_000,
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_not_plain_json_is_kept_exactly(body: bytes) -> None:
    line = line_of(with_value(body))
    assert line["event"] is None
    assert raw(line) == body


def test_a_record_without_a_body_says_so() -> None:
    line = line_of(with_value(None))
    assert line["event"] is None
    assert "raw_base64" not in line


def test_a_foreign_record_is_published_as_what_it_is() -> None:
    bare = Delivery("telnyx.calls", 3, 8, START_MS, None, None, ())
    name, _ = placed(bare)
    assert name.startswith("lake/date=2025-12-31/kind=unknown/telnyx.calls-3-")
    line = line_of(bare)
    assert [line[field] for field in ("id", "type", "key", "account")] == [None] * 4
    assert line["received_at"] == "2025-12-31T23:59:55.000Z"


def test_a_key_that_is_not_text_is_kept_exactly() -> None:
    line = line_of(replace(delivery(7), key=b"\xff\x00"))
    assert line["key"] is None
    assert line["key_base64"] == "/wA="


@pytest.mark.parametrize(
    ("kind", "folder"),
    [
        ("call.answered", "call.answered"),
        ("", "unknown"),
        ("../../etc", "..%2F..%2Fetc"),
        ("a/b=c d", "a%2Fb%3Dc%20d"),
        ("Call", "%43all"),
        ("50%", "50%25"),
        ("é\x00", "%C3%A9%00"),
    ],
)
def test_a_kind_is_safe_in_a_path(kind: str, folder: str) -> None:
    assert placed(delivery(7, kind=kind))[0] == f"lake/date=2025-12-31/kind={folder}/{NAME}"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"yesterday",
        b"2026-02-30T00:00:00.000Z",
        b"2026-01-02T00:00:00+02:00",
        b"../..",
        b"\xff",
    ],
)
def test_a_time_that_is_not_the_doors_gives_way_to_the_streams(text: bytes) -> None:
    strange = replace(delivery(7), headers=(("tl-received-at", text),))
    assert line_of(strange)["received_at"] == "2025-12-31T23:59:55.000Z"


@pytest.mark.parametrize("timestamp_ms", [-(2**63), -1, 2**63 - 1])
def test_no_timestamp_is_too_strange(timestamp_ms: int) -> None:
    bare = Delivery("t", 0, 7, timestamp_ms, None, None, ())
    assert placed(bare)[0].split("/")[1] in {"date=1970-01-01", "date=9999-12-31"}


words = some.text(max_size=300) | some.sampled_from(("..", ".", "/", "call.x", "CALL.X"))
garbage = some.builds(
    Delivery,
    topic=some.just("telnyx.other"),
    partition=some.just(2),
    offset=some.just(7),
    timestamp_ms=some.integers(-(2**63), 2**63 - 1),
    key=some.none() | some.binary(max_size=20),
    value=some.none() | some.binary(max_size=50) | some.text(max_size=50).map(str.encode),
    headers=some.lists(
        some.tuples(
            some.sampled_from(("ce_id", "ce_type", "tl-account", "tl-received-at", "odd")),
            some.binary(max_size=60) | words.map(lambda text: text.encode("utf-8", "replace")),
        ),
        max_size=6,
    ).map(tuple),
)


@given(garbage)
def test_no_record_is_fatal_and_none_leaves_its_folder(record: Delivery) -> None:
    name, data = placed(record)
    lake, date, kind, file = name.split("/")
    assert lake == "lake"
    assert date.startswith("date=")
    assert kind.startswith("kind=")
    assert all(len(part.encode()) <= 255 and part.isascii() for part in (kind, file))
    assert data.count(b"\n") == 1
    line = orjson.loads(data)
    assert json.loads(data) == line
    if record.value is not None:
        assert (line["event"] is None) == ("raw_base64" in line)
        assert line["event"] is not None or raw(line) == record.value


@given(words, words)
def test_different_kinds_have_different_folders_whatever_their_case(one: str, two: str) -> None:
    folders = {placed(delivery(7, kind=kind or "unknown"))[0].casefold() for kind in (one, two)}
    assert len(folders) == len({one or "unknown", two or "unknown"})
