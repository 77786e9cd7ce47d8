import random
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from trunkline.clock import parse_rfc3339
from trunkline.events.samples import STORIES, kinds, make, sample, texml

NOW = 1_800_000_000.25
KINDS = """
call.ai_gather.ended
call.ai_gather.message_history_updated
call.ai_gather.partial_results
call.analyzed
call.answered
call.bridged
call.conversation.created
call.conversation.ended
call.conversation.start_failed
call.conversation_insights.generated
call.cost
call.deepfake_detection.error
call.deepfake_detection.result
call.dequeued
call.dtmf.received
call.enqueued
call.fork.started
call.fork.stopped
call.gather.ended
call.hangup
call.hold
call.initiated
call.machine.detection.ended
call.machine.greeting.ended
call.machine.premium.call_screening.detected
call.machine.premium.detection.ended
call.machine.premium.detection.started
call.machine.premium.greeting.ended
call.payment.completed
call.payment.progress
call.playback.ended
call.playback.started
call.recording.error
call.recording.saved
call.recording.transcription.saved
call.refer.completed
call.refer.failed
call.refer.started
call.sip_info.received
call.speak.ended
call.speak.started
call.transcription
call.unhold
conference.created
conference.ended
conference.floor.changed
conference.participant.joined
conference.participant.left
conference.participant.playback.ended
conference.participant.playback.started
conference.participant.speak.ended
conference.participant.speak.started
conference.playback.ended
conference.playback.started
conference.recording.saved
conference.speak.ended
conference.speak.started
number_order.complete
number_reputation.external_verification.status_changed
number_reputation.number.flagged
number_reputation.number.removed
siprec.failed
siprec.started
siprec.stopped
streaming.failed
streaming.started
streaming.stopped
video.room.composition.completed
video.room.participant.joined
video.room.participant.left
video.room.recording.completed
video.room.recording.started
video.room.session.ended
video.room.session.started
""".split()  # noqa: SIM905  # a list to read, not to scroll


def event(body: dict[str, Any]) -> dict[str, Any]:
    inner: dict[str, Any] = body.get("data", body)
    return inner


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)


def test_every_kind_has_one_sample() -> None:
    assert sorted(kinds()) == sorted(KINDS)
    assert len(kinds()) == 74
    assert len({event(sample(kind))["id"] for kind in kinds()}) == 74


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_has_the_envelope_its_kind_is_documented_with(kind: str) -> None:
    body = sample(kind)
    bare = kind.startswith("video.") or kind == "conference.floor.changed"
    assert ("data" in body, "meta" in body) == (not bare, not bare)
    inner = event(body)
    assert inner["event_type"] == kind
    assert inner["record_type"] == "event"
    assert ("occurred_at" in inner) == (kind != "conference.floor.changed")
    assert inner["payload"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_filled_with_values_that_could_be_real(kind: str) -> None:
    for text in texts(sample(kind)):
        assert text != "string"
        for number in re.findall(r"\+\d+", text):
            assert re.fullmatch(r"\+1\d{3}55501\d\d", number)


@pytest.mark.parametrize("kind", KINDS)
def test_a_made_body_follows_its_number_and_nothing_else(kind: str) -> None:
    first = make(kind, number=1, now=NOW)
    assert first == make(kind, number=1, now=NOW)
    source = random.Random(f"{kind} 1")  # noqa: S311  # samples, not secrets
    assert first == make(kind, number=source, now=NOW)
    second = make(kind, number=2, now=NOW)
    ids = {event(orjson.loads(body))["id"] for body in (first, second)} | {
        event(sample(kind))["id"]
    }
    assert len(ids) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_made_body_has_the_shape_of_its_sample_and_happened_now(kind: str) -> None:
    made, carried = orjson.loads(make(kind, number=5, now=NOW)), sample(kind)
    assert shape(made) == shape(carried)
    inner = event(made)
    moment = inner.get("occurred_at") or inner["payload"]["occurred_at"]
    assert parse_rfc3339(moment) == NOW
    start = inner["payload"].get("start_time")
    assert start is None or parse_rfc3339(start) <= NOW


def shape(value: object) -> object:
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shape(part) for part in value]
    return type(value)


@pytest.mark.parametrize("story", STORIES)
def test_the_kinds_of_a_story_made_for_one_session_belong_together(story: str) -> None:
    payloads = [
        event(orjson.loads(make(kind, number=number, now=NOW, session="s-1")))["payload"]
        for number, kind in enumerate(STORIES[story])
    ]
    assert all("s-1" in payload.values() for payload in payloads)
    for name in ("call_session_id", "call_leg_id", "call_control_id", "from", "to", "room_id"):
        assert len({payload[name] for payload in payloads if name in payload}) <= 1


def test_two_sessions_share_no_leg_and_callers_differ_from_the_called() -> None:
    legs, pairs = set(), set()
    for number in range(200):
        payload = event(orjson.loads(make("call.initiated", number=number, now=NOW)))["payload"]
        legs |= {payload["call_leg_id"], payload["call_control_id"]}
        pairs.add((payload["from"], payload["to"]))
        assert payload["from"] != payload["to"]
    assert len(legs) == 400
    assert len(pairs) > 150


def test_a_session_with_quotes_stays_inside_its_string() -> None:
    body = make("call.hangup", number=1, now=NOW, session='a"b\\c')
    assert event(orjson.loads(body))["payload"]["call_session_id"] == 'a"b\\c'


def test_a_texml_callback_is_a_form_made_for_a_session() -> None:
    body = texml(number=1, now=NOW, session="s-1")
    assert body == texml(number=1, now=NOW, session="s-1")
    assert body != texml(number=2, now=NOW)
    form = parse_qs(body.decode(), strict_parsing=True)
    assert form["CallSessionId"] == ["s-1"]
    assert form["From"] != form["To"]
    assert b"From=%2B1" in body
