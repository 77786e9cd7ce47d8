"""The project's own webhook bodies, one a kind, and fresh ones made after them."""

import base64
import hashlib
import random
import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson

from trunkline.clock import parse_rfc3339, rfc3339

# What happens to one resource, in its natural order; one session makes one story of it.
STORIES: dict[str, tuple[str, ...]] = {
    "call": (
        "call.initiated",
        "call.answered",
        "call.bridged",
        "call.dtmf.received",
        "call.hangup",
        "call.recording.saved",
        "call.cost",
        "call.recording.transcription.saved",
    ),
    "missed call": ("call.initiated", "call.hangup"),
    "queued call": (
        "call.initiated",
        "call.answered",
        "call.enqueued",
        "call.dequeued",
        "call.bridged",
        "call.hangup",
        "call.cost",
    ),
    "streamed call": (
        "call.initiated",
        "call.answered",
        "streaming.started",
        "call.transcription",
        "streaming.stopped",
        "call.hangup",
    ),
    "conference": (
        "conference.created",
        "conference.participant.joined",
        "conference.playback.started",
        "conference.playback.ended",
        "conference.floor.changed",
        "conference.participant.left",
        "conference.ended",
        "conference.recording.saved",
    ),
    "video room": (
        "video.room.session.started",
        "video.room.participant.joined",
        "video.room.recording.started",
        "video.room.participant.left",
        "video.room.session.ended",
        "video.room.recording.completed",
    ),
    "composition": ("video.room.composition.completed",),
    "number order": ("number_order.complete",),
}

# The field that says whose story an event belongs to; calls are the rest.
_SUBJECTS = {
    "conference.": "conference_id",
    "video.": "session_id",
    "number_order.": "id",
    "number_reputation.": "enterprise_id",
}
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_VARYING = re.compile(
    rf"(?P<uuid>{_UUID})"
    r"|(?P<control>v3:[A-Za-z0-9_-]{40,})"
    r"|(?P<phone>\+1[0-9]{3}55501[0-9]{2})"
    r"|(?P<moment>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}Z)"
)
_AREAS = (202, 206, 212, 214, 303, 305, 312, 404, 415, 503, 512, 602, 617, 646, 702, 919)


class _Template(NamedTuple):
    text: str
    event_id: str
    subject: str
    occurred_at: float


@cache
def _templates() -> dict[str, _Template]:
    text = resources.files(__package__).joinpath("samples.jsonl").read_text(encoding="utf-8")
    return {template[0]: template[1] for template in map(_template, text.splitlines())}


def _template(line: str) -> tuple[str, _Template]:
    body = orjson.loads(line)
    event = body.get("data", body)
    kind: str = event["event_type"]
    payload = event["payload"]
    field = next((_SUBJECTS[head] for head in _SUBJECTS if kind.startswith(head)), None)
    moment = event.get("occurred_at") or payload["occurred_at"]
    subject = payload[field or "call_session_id"]
    return kind, _Template(line, event["id"], subject, parse_rfc3339(moment))


def kinds() -> tuple[str, ...]:
    return tuple(_templates())


def sample(kind: str) -> dict[str, Any]:
    """The carried body of a kind, as it stands; a new copy each time."""
    body: dict[str, Any] = orjson.loads(_templates()[kind].text)
    return body


def make(
    kind: str, *, number: int | random.Random, now: float, session: str | None = None
) -> bytes:
    """A body like the sample of its kind, with ids of its own, that happened now.

    The same arguments give the same bytes. `session` becomes the id its story is about (call
    session, conference, room session, order); legs, recordings and phone numbers follow from it,
    so kinds made for one session belong together.
    """
    template = _templates()[kind]
    source = number if isinstance(number, random.Random) else random.Random(f"{kind} {number}")  # noqa: S311  # samples, not secrets
    event_id = str(UUID(int=source.getrandbits(128), version=4))
    session = session or str(UUID(int=source.getrandbits(128), version=4))
    fixed = {template.event_id: event_id, template.subject: orjson.dumps(session).decode()[1:-1]}
    shift = now - template.occurred_at
    return _VARYING.sub(_variation(session, fixed, shift), template.text).encode()


def _variation(session: str, fixed: dict[str, str], shift: float) -> Callable[[re.Match[str]], str]:
    def vary(match: re.Match[str]) -> str:
        old = match.group()
        if old in fixed:
            return fixed[old]
        if match.lastgroup == "uuid":
            new = str(uuid5(NAMESPACE_URL, f"{session} {old}"))
        elif match.lastgroup == "control":
            new = _control(session, old)
        elif match.lastgroup == "phone":
            new = phone(session, old)
        else:
            new = _micros(parse_rfc3339(old) + shift)
        return fixed.setdefault(old, new)

    return vary


def phone(session: str, role: str) -> str:
    """A number nobody has (555-0100 to 555-0199); roles ending unlike differ in parity too."""
    seed = hashlib.sha256(f"{session} {role}".encode()).digest()
    line = seed[1] % 50 * 2 + ord(role[-1]) % 2
    return f"+1{_AREAS[seed[0] % len(_AREAS)]}55501{line:02d}"


def _control(session: str, role: str) -> str:
    seed = hashlib.sha512(f"{session} {role}".encode()).digest()
    return "v3:" + base64.urlsafe_b64encode(seed[:42]).decode()


def _micros(moment: float) -> str:
    return f"{rfc3339(moment)[:-1]}{round(moment * 1_000_000) % 1000:03d}Z"


def texml(*, number: int, now: float, session: str | None = None) -> bytes:
    """A TeXML status callback: a form, signed like every other body but without an event id."""
    source = random.Random(f"texml {number}")  # noqa: S311  # samples, not secrets
    session = session or str(UUID(int=source.getrandbits(128), version=4))
    fields = {
        "AccountSid": str(uuid5(NAMESPACE_URL, "account")),
        "CallSid": _control(session, "leg"),
        "CallSidLegacy": str(uuid5(NAMESPACE_URL, f"{session} leg")),
        "CallSessionId": session,
        "From": phone(session, "from"),
        "To": phone(session, "to"),
        "CallStatus": "completed",
        "CallDuration": str(source.randrange(5, 600)),
        "CallbackSource": "call-progress-events",
        "HangupSource": "caller",
        "SequenceNumber": "3",
        "Timestamp": rfc3339(now),
    }
    return urlencode(fields).encode()
