"""Which letters are open: what is appended about them, in whatever order it is read."""

import pytest

from trunkline.cli.dead_letters import (
    DROPPED,
    REPLAYED,
    Found,
    Letters,
    Position,
    Selection,
    moment,
    replay,
    settlement,
)
from trunkline.cli.dead_lines import age, line
from trunkline.clock import rfc3339
from trunkline.stream import Delivery, Record
from trunkline.worker import letters

NOW = 1_800_000_000.0
HEADERS = (("ce_id", b"event-1"), ("ce_type", b"call.hangup"))
ORIGINAL = Delivery("telnyx.calls", 2, 40, 1_799_000_000_000, b"key", b'{"a": 1}', HEADERS)


def landed(record: Record, partition: int, offset: int) -> Delivery:
    return Delivery(
        record.topic,
        partition,
        offset,
        record.timestamp_ms,
        record.key,
        record.value,
        record.headers,
    )


def letter(offset: int, original: Delivery = ORIGINAL) -> Delivery:
    record = letters.write(original, "calls", "unheard of", None, NOW + offset, topic="dead")
    return landed(record, 1, offset)


def read(*deliveries: Delivery) -> Letters:
    found = Letters()
    for delivery in deliveries:
        found.add(delivery)
    return found


def said_of(found: Found, how: str, offset: int) -> Delivery:
    return landed(settlement(found, how, "dead", NOW), 1, offset)


def test_what_is_settled_is_not_open_and_the_first_word_counts() -> None:
    one, other = (read(letter(7), letter(8)).found[Position(1, offset)] for offset in (7, 8))
    found = read(letter(7), letter(8), said_of(one, REPLAYED, 9), said_of(one, DROPPED, 10))
    assert list(found.open()) == [other]
    assert found.settled == {one.position: REPLAYED}


def test_a_settlement_outlives_its_letter_without_harm() -> None:
    (one,) = read(letter(7)).open()
    found = read(said_of(one, DROPPED, 9), letter(11))
    assert [it.position.offset for it in found.open()] == [11]


def test_a_settlement_goes_where_its_letter_lies() -> None:
    (one,) = read(letter(7)).open()
    assert settlement(one, DROPPED, "dead", NOW).key == letter(7).key


def test_a_letter_that_died_again_is_replayed_from_its_newest_grave() -> None:
    (first,) = read(letter(7)).open()
    again = landed(replay(first, NOW), 2, 41)
    (second,) = read(letter(9, again)).open()
    assert second.letter.headers[:2] == HEADERS
    assert second.original.id == "event-1"
    values = [value for name, value in replay(second, NOW).headers if name == "tl-replay-of"]
    assert values == [b"1:7", b"1:9"]


def test_positions_are_read_as_they_are_written() -> None:
    assert Position.parse(str(Position(3, 17))) == Position(3, 17)
    for text in ("", "3", "3:", ":1", "-1:2", "3:17:1", "three:1", "\u0661:1"):
        with pytest.raises(ValueError, match="look like 3:17"):
            Position.parse(text)


def test_a_moment_is_a_date_or_so_long_ago() -> None:
    assert moment("90s", NOW) == NOW - 90
    assert moment("2h", NOW) == NOW - 7_200
    assert moment("3d", NOW) == NOW - 3 * 86_400
    assert moment(rfc3339(NOW - 5), NOW) == NOW - 5
    for text in ("", "h", "2w", "-2h", "2026-01-01", "2026-01-01T00:00:00"):
        with pytest.raises(ValueError, match="neither"):
            moment(text, NOW)


def test_since_is_included_and_until_is_not() -> None:
    (one,) = read(letter(0)).open()
    assert Selection(since=NOW).admits(one)
    assert not Selection(until=NOW).admits(one)
    assert Selection(since=NOW, until=NOW + 1).admits(one)


def test_a_line_shows_even_what_strangers_made_of_it() -> None:
    evil = "\x1b[2J\u202e+13125550188"
    headers = (("ce_type", evil.encode()), ("ce_id", b"\xff"))
    (one,) = read(letter(0, Delivery(evil, 0, 0, 0, evil.encode(), None, headers))).open()
    shown = line(one, NOW + 60, masked=True)
    assert shown.isprintable()
    assert "13125550188" not in shown


def test_an_age_fits_a_column() -> None:
    assert [age(it) for it in (-5, 59, 60, 7_199, 7_200, 90_000)] == [
        "0s", "59s", "1m", "1h", "2h", "1d",
    ]  # fmt: skip
