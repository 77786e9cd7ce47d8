"""Reads the outside of an authentic body: id, type, key, time, or why it cannot. Pure."""

import hashlib
import json
import re
from typing import Any, NoReturn
from urllib.parse import parse_qsl

import orjson

from trunkline.envelope import TEXML, UNREADABLE, Label

# What routes or names an event. Written twice in one object, nobody can say which one counts.
ROUTING = (
    "data",
    "payload",
    "id",
    "event_type",
    "occurred_at",
    "call_session_id",
    "conference_id",
    "session_id",
    "recording_id",
    "connection_id",
)
_QUOTED = tuple(b'"%s"' % name.encode() for name in ROUTING)
# Why an authentic body is unreadable: a closed set, it labels a metric.
REASONS = (
    "empty",
    "not_utf8",
    "not_json",
    "not_an_object",
    "not_a_form",
    "too_deep",
    "duplicate_keys",
    "missing_id",
    "missing_type",
    "illegal_id",
    "illegal_type",
)
_KEYS = ("call_session_id", "conference_id", "session_id", "recording_id")
_FORM_KEYS = ("CallSessionId", "CallSid", "ConferenceSid", "RecordingSid")
_FORM_FIELDS_MAX = 1_000

_legal = re.compile(r"[\x21-\x7e]{1,200}").fullmatch
_date_time = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)"
).fullmatch


class _Unreadable(Exception):
    """Its argument is one of REASONS."""


def read(content_type: bytes, body: bytes) -> Label:
    try:
        if content_type[:33].lower() == b"application/x-www-form-urlencoded":
            return _read_form(body)
        return _read_json(body)
    except _Unreadable as problem:
        name = hashlib.sha256(body).hexdigest()
        return Label(name, UNREADABLE, name, None, str(problem))


def _read_json(body: bytes) -> Label:
    if not body:
        raise _Unreadable("empty")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _explain(body, error)
    if not isinstance(document, dict):
        raise _Unreadable("not_an_object")
    # Written as compact as Telnyx writes, a document that gives its own bytes again hides nothing.
    if orjson.dumps(document) != body:
        _refuse_duplicates(body)
    # Video events, conference.floor.changed and version 1 come without the `data` wrapper.
    event = document.get("data", document)
    if not isinstance(event, dict):
        raise _Unreadable("not_an_object")
    event_id = _name(event, "id")
    event_type = _name(event, "event_type")
    payload = event.get("payload")
    if not isinstance(payload, dict):
        payload = {}
    return Label(event_id, event_type, _key(event_id, event_type, payload), _time(event, payload))


def _name(event: dict[str, Any], field: str) -> str:
    value = event.get(field)
    kind = field.removeprefix("event_")
    if value is None:
        raise _Unreadable(f"missing_{kind}")
    if not isinstance(value, str) or not _legal(value):
        raise _Unreadable(f"illegal_{kind}")
    return value


def _key(event_id: str, event_type: str, payload: dict[str, Any]) -> str:
    for field in _KEYS:
        value = payload.get(field)
        if isinstance(value, str) and _legal(value):
            return value
    order = payload.get("id") if event_type.startswith("number_order.") else None
    for value in (order, payload.get("connection_id")):
        if isinstance(value, str) and _legal(value):
            return value
    return event_id


def _time(event: dict[str, Any], payload: dict[str, Any]) -> str | None:
    for value in (
        event.get("occurred_at"),
        payload.get("occurred_at"),
        event.get("created_at"),
    ):
        if isinstance(value, str) and _date_time(value):
            return value
    return None


def _refuse_duplicates(body: bytes) -> None:
    """The parser keeps the last of two equal keys: a body that may hold such is parsed again."""
    if b"\\u" not in body:  # else a key may be written in escapes
        for quoted in _QUOTED:
            if body.count(quoted) > 1:
                break
        else:
            return
    try:
        json.loads(body, object_pairs_hook=_distinct)
    except RecursionError:
        raise _Unreadable("too_deep") from None
    except ValueError:
        # Python refuses integers of thousands of digits, which orjson takes.
        raise _Unreadable("not_json") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        if any(names.count(name) > 1 for name in ROUTING):
            raise _Unreadable("duplicate_keys")
    return result


def _explain(body: bytes, error: orjson.JSONDecodeError) -> NoReturn:
    if "depth" in str(error):
        raise _Unreadable("too_deep") from None
    try:
        body.decode()
    except UnicodeDecodeError:
        raise _Unreadable("not_utf8") from None
    raise _Unreadable("not_json") from None


def _read_form(body: bytes) -> Label:
    """A TeXML callback names no event: its id is its hash, its key the call it belongs to."""
    if not body:
        raise _Unreadable("empty")
    try:
        fields = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_FORM_FIELDS_MAX,
        )
    except ValueError:  # UnicodeDecodeError is one
        raise _Unreadable("not_a_form") from None
    names = [name for name, _ in fields]
    if any(names.count(name) > 1 for name in _FORM_KEYS):
        raise _Unreadable("duplicate_keys")
    values = dict(fields)
    event_id = hashlib.sha256(body).hexdigest()
    key = next((v for f in _FORM_KEYS if _legal(v := values.get(f, ""))), event_id)
    return Label(event_id, TEXML, key, None)
