"""A log record as one line of JSON or text: snapshot, masked, and unable to forge another. Pure."""

import json
import logging
import math
import os
import traceback
from itertools import islice
from typing import Any

from trunkline.clock import rfc3339
from trunkline.mask import mask_field, mask_text, printable

Line = dict[str, object]

_MESSAGE_CHARACTERS_MAX = 2_000
_VALUE_CHARACTERS_MAX = 1_000
_NAME_CHARACTERS_MAX = 64
_FIELDS_MAX = 40
_FRAMES_MAX = 6
_CAUSES_MAX = 3
_DEPTH_MAX = 6

_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "message",
    "asctime",
    "taskName",
}
_FIXED = frozenset(("time", "level", "logger", "message", "exception"))


def snapshot(record: logging.LogRecord) -> Line:
    """Whatever may change later becomes text now; masking can wait for the thread."""
    line: Line = {
        "time": rfc3339(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    for name, value in record.__dict__.items():
        if name not in _STANDARD and len(line) < _FIELDS_MAX:
            line[f"field_{name}" if name in _FIXED else name] = _still(value, 0)
    if record.exc_info and record.exc_info[1] is not None:
        line["exception"] = _exception(record.exc_info[1])
    return line


def _still(value: object, depth: int) -> object:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str | bytes):
        return value[: 2 * _VALUE_CHARACTERS_MAX]
    if depth > _DEPTH_MAX:
        return "…"
    if isinstance(value, list | tuple | set | frozenset):
        return [_still(part, depth + 1) for part in islice(value, _FIELDS_MAX)]
    if isinstance(value, dict):
        fields = islice(value.items(), _FIELDS_MAX)
        return {str(name): _still(part, depth + 1) for name, part in fields}
    return str(value)


def _exception(error: BaseException) -> dict[str, object]:
    sentences: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(sentences) < _CAUSES_MAX:
        sentences.append(_sentence(cause))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    frames = [
        f"{os.path.basename(frame.f_code.co_filename)}:{number} {frame.f_code.co_name}"  # noqa: PTH119  # not a path to open
        for frame, number in traceback.walk_tb(error.__traceback__)
    ]
    return {
        "type": type(error).__qualname__,
        "message": " <- ".join(sentences),
        "trace": " > ".join(frames[-_FRAMES_MAX:]),
    }


def _sentence(error: BaseException) -> str:
    text = f"{type(error).__qualname__}: {error}"
    if isinstance(error, BaseExceptionGroup):
        inner = error.exceptions[:_CAUSES_MAX]
        text += " [" + "; ".join(_sentence(part) for part in inner) + "]"
    return text


def loss(beside: Line, lost: int) -> Line:
    return {
        "time": beside["time"],
        "level": "warning",
        "logger": "trunkline.log",
        "message": "log lines were dropped",
        "dropped": lost,
    }


def _clean(line: Line) -> dict[str, Any]:
    """The one place where a line loses numbers, secrets and everything that moves a cursor."""
    clean: dict[str, Any] = {
        "time": line.pop("time"),
        "level": line.pop("level"),
        "logger": printable(str(line.pop("logger")), _NAME_CHARACTERS_MAX),
        "message": _message(str(line.pop("message"))),
    }
    for name, value in line.items():
        clean[printable(name, _NAME_CHARACTERS_MAX)] = _plain(mask_field(name, value))
    return clean


def _message(text: str) -> str:
    # Cut before it is masked too: nobody's text may keep the thread busy.
    return printable(mask_text(text[: 2 * _MESSAGE_CHARACTERS_MAX]), _MESSAGE_CHARACTERS_MAX)


def _plain(value: object) -> object:
    if isinstance(value, str):
        return printable(value, _VALUE_CHARACTERS_MAX)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {printable(name, _NAME_CHARACTERS_MAX): _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value


def as_json(line: Line) -> str:
    return json.dumps(_clean(line), ensure_ascii=False, separators=(",", ":")) + "\n"


def as_text(line: Line) -> str:
    clean = _clean(line)
    head = f"{clean.pop('time')} {clean.pop('level'):<7} {clean.pop('logger')}: "
    message = clean.pop("message")
    fields = "".join(f" {_word(name)}={_word(value)}" for name, value in clean.items())
    return f"{head}{message}{fields}\n"


def _word(value: object) -> str:
    if isinstance(value, str) and value and not set(value) & set(' "='):
        return value
    return json.dumps(value, ensure_ascii=False)
