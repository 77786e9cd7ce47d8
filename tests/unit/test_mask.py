import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trunkline.events.samples import kinds, sample
from trunkline.mask import HIDDEN, mask_event, mask_field, mask_number, mask_text, printable

NUMBERS = st.from_regex(r"[1-9][0-9]{6,14}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["from", "to", "result", "token", "data", "note"]) | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("+13125550101", "+1312•••0101"),
        ("call from +13125550101 to +442079460018.", "call from +1312•••0101 to +4420•••0018."),
        ("+1 312 555 0101 is busy", "+1312•••0101 is busy"),
        ("+1 (312) 555-0101", "+1312•••0101"),
        ("+13125550101 200 OK", "+1312•••0101 200 OK"),
        ("From=%2B13125550101&To=1", "From=%2B1312•••0101&To=1"),
        ("from=13125550101 status=200", "from=1312•••0101 status=200"),
        ("sip:+13125550101@sip.example.com", "sip:+1312•••0101@sip.example.com"),
        ("sip:alice@sip.example.com", "sip:al•••@sip.example.com"),
        ("sip:13125550101@sip.example.com", "sip:1312•••0101@sip.example.com"),
        ("https://a.example/x.mp3?X-Amz-Signature=0f", "https://a.example/x.mp3?•••"),
        ("see https://a.example/x?y#z now", "see https://a.example/x?••• now"),
        ("postgresql://joe:hunter2@db/x", "postgresql://•••@db/x"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer •••"),
        ("sent bearer 0123456789abcdef on", "sent bearer ••• on"),
        ("basic questions, bearer of news", "basic questions, bearer of news"),
        ("password=hunter2, next", "password=•••, next"),
        ('{"api_key":"s3cr3t"}', '{"api_key":"•••"}'),
        ("KEY0123456789ABCDEF0123_secretpart", "•••"),
        ("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY----- x", "••• x"),
        ("offset 1684641123236054244 of 3", "offset 1684641123236054244 of 3"),
        ("2026-03-14T15:10:42.518Z+00:00", "2026-03-14T15:10:42.518Z+00:00"),
    ],
)
def test_a_text_loses_what_identifies_or_opens_and_keeps_the_rest(text: str, masked: str) -> None:
    assert mask_text(text) == masked
    assert mask_text(masked) == masked


@given(st.text(max_size=20), NUMBERS, st.text(max_size=20))
@example("", "1234567", "89")
@example("from=", "13125550101", "")
def test_no_number_survives_whole_anywhere_in_a_text(before: str, number: str, after: str) -> None:
    assert f"+{number}" not in mask_text(f"{before}+{number}{after}")
    assert number not in re.findall(r"\d+", mask_text(f"x +{number} y"))


@given(NUMBERS)
def test_a_masked_number_is_still_told_apart_by_its_ends(number: str) -> None:
    masked = mask_number(number)
    assert masked.startswith(number[:2])
    assert masked.endswith(number[-2:])
    assert number not in masked


@given(st.text() | st.from_regex(r"((sip:|https://|token=|\+)[\w+%@:/?=&. •-]{0,20}){1,4}"))
@example("sip:a@b@c")
@example("https://•••:x@h/")
@example("bearer bearer token=1")
@example("https://tel:kafka://@x")
def test_masking_a_text_twice_changes_nothing_more(text: str) -> None:
    once = mask_text(text)
    assert mask_text(once) == once


@pytest.mark.parametrize(
    "part",
    ["a-", "-token", "sip:", "+1 (1) 1", "https://", "a.b+", "eyJ", "from=1", "_", "1 ", "%2B1"],
)
def test_a_hostile_text_is_masked_in_linear_time(part: str) -> None:
    # Quadratic patterns take minutes for this; the test is that it ends.
    assert mask_text(part * 200_000)


@given(JSON)
def test_masking_an_event_twice_changes_nothing_more(value: object) -> None:
    once = mask_event(value)
    assert mask_event(once) == once


@pytest.mark.parametrize("kind", kinds())
def test_a_masked_sample_holds_no_number_secret_or_private_word(kind: str) -> None:
    masked = str(mask_event(sample(kind)))
    assert not re.search(r"\+\d{7}", masked)
    for private in (
        "Thursday",
        "José",
        "4242",
        "000123456789",
        "X-Amz",
        "tok_8fK2mQx1",
        "eyJmbG93",
        "4021",
        "Ana",
        "Example Street",
        "A-20417",
        "desk-7",
        "60601",
    ):
        assert private not in masked
    assert kind in masked


def test_a_masked_event_keeps_what_an_operator_needs() -> None:
    event = mask_event(sample("call.hangup"))
    assert isinstance(event, dict)
    payload = event["data"]["payload"]
    assert payload["from"] == "+1312•••0142"
    assert payload["hangup_cause"] == "normal_clearing"
    assert payload["call_session_id"] == sample("call.hangup")["data"]["payload"]["call_session_id"]
    assert payload["connection_id"] == "1494404757140276705"
    assert payload["client_state"] == HIDDEN
    assert payload["call_quality_stats"]["inbound"]["mos"] == "4.44"


def test_the_same_field_is_shown_as_a_word_and_hidden_as_an_answer() -> None:
    assert mask_field("result", "human_residence") == "human_residence"
    assert mask_field("result", {"day": "Thursday"}) == HIDDEN
    assert mask_field("result", "The caller was angry about it.") == HIDDEN
    assert mask_field("Digits", "1234") == HIDDEN
    assert mask_field("to", 13125550101) == "1312•••0101"
    assert mask_field("phone_numbers", ["13125550101"]) == ["1312•••0101"]
    assert mask_field("TELNYX_API_KEY", "x") == HIDDEN


def test_an_event_of_any_depth_is_masked_without_falling() -> None:
    value: object = "+13125550101"
    for _ in range(5_000):
        value = [value]
    assert "555" not in str(mask_event(value))


@given(st.text() | st.binary(), st.integers(min_value=0, max_value=80))
def test_printable_text_only_shows(text: str | bytes, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert all(unicodedata.category(char)[0] != "C" for char in shown)
    assert not {unicodedata.category(char) for char in shown} & {"Zl", "Zp"}
    assert printable(shown, limit) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\n", "a\\x0ab\\x0d\\x0a"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("abc\u202edef", "abc\\u202edef"),
        ("a\u2028b", "a\\u2028b"),
        (b"\xff\x00ok", "\\xff\\x00ok"),
        ("José 日本 ✓", "José 日本 ✓"),
        ("\U000e0041x", "\\U000e0041x"),
    ],
)
def test_what_drives_a_terminal_is_spelled_out(text: str | bytes, shown: str) -> None:
    assert printable(text, 100) == shown


def test_a_long_text_is_cut_and_says_so() -> None:
    assert printable("a" * 100, 10) == "a" * 9 + "…"
