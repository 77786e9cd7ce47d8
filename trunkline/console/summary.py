"""An event in a few words, safe to show: a line of `tail`, a row of the page. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from trunkline.clock import rfc3339
from trunkline.envelope import TEXML, UNREADABLE, Envelope
from trunkline.mask import mask_field, printable

_TEXT_CHARACTERS_MAX = 64
_KEY_CHARACTERS = 8
_FORM_FIELDS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Summary:
    """Every text is printable and short; `sender` and `receiver` are masked unless asked not to."""

    time: str
    kind: str
    key: str
    account: str
    sender: str
    receiver: str
    problem: str


def summarise(envelope: Envelope, *, masked: bool = True) -> Summary:
    payload = _payload(event_of(envelope))
    kind = envelope.type
    return Summary(
        time=envelope.received_at or rfc3339(envelope.delivery.timestamp_ms / 1000),
        kind=_show(kind) or "(no kind)",
        key=shorten(_show(envelope.key), _KEY_CHARACTERS),
        account=_show(envelope.account),
        sender=_party(payload, "from", masked=masked),
        receiver=_party(payload, "to", masked=masked),
        problem=_show(envelope.headers.get("tl-reason")) if kind == UNREADABLE else "",
    )


def event_of(envelope: Envelope) -> Any:
    """The body as values: JSON, or a form's fields; None if it is neither."""
    body = envelope.delivery.value
    if body is None:
        return None
    if envelope.type == TEXML:
        try:
            return dict(parse_qsl(body.decode(), True, max_num_fields=_FORM_FIELDS_MAX))  # noqa: FBT003  # keep_blank_values
        except ValueError:
            return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def as_json_line(value: Mapping[str, object]) -> str:
    """One line, ASCII only: no text of a stranger's moves a terminal's cursor."""
    return json.dumps(value, separators=(",", ":")).replace("\x7f", "\\u007f")


def shorten(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[:characters] + "…"


def _payload(event: Any) -> Mapping[str, Any]:
    for name in ("data", "payload"):
        inner = event.get(name) if isinstance(event, dict) else None
        event = inner if isinstance(inner, dict) else event
    return event if isinstance(event, dict) else {}


def _party(payload: Mapping[str, Any], name: str, *, masked: bool) -> str:
    """Calls have a number here, messages an object or a list of them, TeXML a capital letter."""
    value = payload.get(name, payload.get(name.capitalize()))
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict):
        value = value.get("phone_number")
    if not isinstance(value, str):
        return ""
    return _show(str(mask_field(name, value)) if masked else value)


def _show(text: str | None) -> str:
    return printable(text or "", _TEXT_CHARACTERS_MAX)
