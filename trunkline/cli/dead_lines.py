"""What an operator is shown of a dead letter: a line, or everything. Pure."""

import json
from collections.abc import Mapping

from trunkline.cli.dead_letters import Found
from trunkline.clock import rfc3339
from trunkline.console.summary import event_of
from trunkline.mask import mask_event, mask_text, printable

_TEXT_CHARACTERS = 60
_MESSAGE_CHARACTERS = 1_024
_BODY_CHARACTERS = 65_536
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def line(found: Found, now: float, *, masked: bool) -> str:
    letter, original = found.letter, found.original
    return "  ".join(
        [
            f"{found.position!s:<7}",
            f"{age(now - found.at):>4}",
            _text(letter.processor, masked=masked),
            f"{_text(letter.reason, masked=masked)} ({letter.attempts}x)",
            _text(letter.exception, masked=masked) or "-",
            f"{_text(letter.topic, masked=masked)}/{letter.partition}:{letter.offset}",
            _text(original.type or "(no kind)", masked=masked),
            _text(original.key or "(no key)", masked=masked),
        ]
    )


def plain(found: Found, *, masked: bool) -> dict[str, object]:
    """A letter as JSON has it, without its body."""
    letter, original = found.letter, found.original
    shown = {
        "position": str(found.position),
        "died_at": rfc3339(found.at),
        "processor": letter.processor,
        "version": letter.version,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "first_failed_at": rfc3339(letter.first_failed_at),
        "last_failed_at": rfc3339(letter.last_failed_at),
        "exception": letter.exception,
        "message": letter.message,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "timestamp": letter.timestamp_ms,
        "id": original.id,
        "type": original.type,
        "key": original.key,
        "account": original.account,
        "body_bytes": letter.value_bytes,
        "cut": sorted(letter.cut),
    }
    if not masked:
        return shown
    return {name: mask_text(it) if isinstance(it, str) else it for name, it in shown.items()}


def whole(found: Found, state: str, *, masked: bool) -> dict[str, object]:
    """The same with its state, its headers and its body."""
    event = event_of(found.original)
    shown = {
        **plain(found, masked=masked),
        "state": state,
        "headers": _headers(found, masked=masked),
        "event": mask_event(event) if masked else event,
    }
    if found.letter.sha256 is not None:
        shown["sha256"] = found.letter.sha256
    return shown


def page(found: Found, state: str, now: float, *, masked: bool) -> str:
    letter, original = found.letter, found.original
    failed = f"first {rfc3339(letter.first_failed_at)}, last {rfc3339(letter.last_failed_at)}"
    words = {
        "position": f"{found.position}, {state}",
        "died": f"{rfc3339(found.at)}, {age(now - found.at)} ago",
        "processor": f"{letter.processor} {letter.version}",
        "reason": letter.reason,
        "attempts": f"{letter.attempts}, {failed}",
        "exception": letter.exception or "-",
        "message": letter.message or "-",
        "origin": f"{letter.topic}/{letter.partition}:{letter.offset}",
        "appended": rfc3339(letter.timestamp_ms / 1_000),
        "kind": original.type or "-",
        "id": original.id or "-",
        "key": original.key or "-",
        "account": original.account or "-",
        "body": f"{letter.value_bytes} bytes",
    }
    if letter.cut:
        words["cut"] = f"{', '.join(sorted(letter.cut))}; sha256 of the whole body {letter.sha256}"
    lines = [
        f"{name:<10} {_text(it, _MESSAGE_CHARACTERS, masked=masked)}" for name, it in words.items()
    ]
    lines.append("headers")
    lines += [f"  {name}: {it}" for name, it in _headers(found, masked=masked)]
    return "\n".join([*lines, "", _body(found, masked=masked)])


def age(seconds: float) -> str:
    """As short as a column wants it."""
    whole_seconds = max(0, int(seconds))
    if whole_seconds < _MINUTE:
        return f"{whole_seconds}s"
    if whole_seconds < _HOUR:
        return f"{whole_seconds // _MINUTE}m"
    if whole_seconds < _DAY:
        return f"{whole_seconds // _HOUR}h"
    return f"{whole_seconds // _DAY}d"


def safe_json(value: Mapping[str, object], *, indent: int | None = None) -> str:
    """ASCII only: no text of a stranger's moves a terminal's cursor."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def _headers(found: Found, *, masked: bool) -> list[tuple[str, str]]:
    return [
        (_text(name, masked=masked), _text(it, _MESSAGE_CHARACTERS, masked=masked))
        for name, it in found.letter.headers
    ]


def _body(found: Found, *, masked: bool) -> str:
    event = event_of(found.original)
    if event is None:
        return _text(found.letter.value or b"", _BODY_CHARACTERS, masked=masked)
    shown = mask_event(event) if masked else event
    return json.dumps(shown, indent=2).replace("\x7f", "\\u007f")


def _text(text: str | bytes, characters: int = _TEXT_CHARACTERS, *, masked: bool) -> str:
    # Whole before it is masked: what is cut in two is not known for a number any more.
    whole_text = printable(text, _BODY_CHARACTERS)
    return printable(mask_text(whole_text) if masked else whole_text, characters)
