"""Decides what of a text or an event may be shown to a person: numbers, secrets, terminal codes."""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "•••"

_DEPTH_MAX = 64  # deeper than any real event; a deeper one is somebody's attack on our stack

# Fields of telephone numbers, in events and forms; here digits need no plus to be a number.
_NUMBERS = frozenset(
    """from to phonenumber phonenumbers callernumber callerid calleridnumber caller called
    fromnumber tonumber number destination forwardedfrom diversion msisdn ani dnis""".split()  # noqa: SIM905  # read as prose
)
# What people said, pressed, paid with or are called. `result` and the like hold a harmless word in
# some kinds (human, machine) and what a caller told an assistant in others.
_PERSONAL = frozenset(
    """clientstate digit digits dtmf paymentcardnumber paymentcardpostalcode paymentcardtype
    expirationdate securitycode bankaccountnumber bankroutingnumber bankaccounttype tokenid chargeid
    paymentconfirmationcode connectorerror paymenterror payerrorcode transcript transcription
    transcriptiontext text speechresult messagehistory messages content arguments partialresults
    results conversationinsights calleridname callername context customheaders sipheaders body
    fieldvalue""".split()  # noqa: SIM905
)
_ANSWERS = frozenset(("result",))
_SECRET = re.compile(
    r"passw|secret|token|private_?key|api_?key|authorization|cookie|credential", re.IGNORECASE
)
_WORD_CHARACTERS_MAX = 40  # an enum value is a short word; an answer in prose has spaces

_BEFORE, _AFTER = 4, 4
_LONG, _SHORT = 11, 8

_PHONE = re.compile(
    r"(?P<plus>\+|%2[Bb])(?P<digits>\d{7,}"
    r"|\d{1,3}(?:[ .\-]?\(\d{1,4}\)[ .\-]?|[ .\-])\d{2,4}(?:[ .\-]\d{2,4}){1,3})"
)
_NAMED_PHONE = re.compile(
    r"(?P<head>\b(?:from|to|phone_number|caller|called|caller_id)[\"']?\s?[=:]\s?[\"']?)"
    r"(?P<digits>\d{8,15})(?!\d)",
    re.IGNORECASE,
)
_SIP = re.compile(
    r"(?P<scheme>\b(?:sips?|tel):(?://)?)(?P<user>[^\s@;<>\"',]{1,128})(?=@)", re.IGNORECASE
)
_URL = re.compile(r"\b(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]{1,20}://)(?P<rest>[^\s\"'<>\\]+)")
_SECRETS = re.compile(
    r"(?P<head>\bauthorization[\"']?\s?[=:]\s?[\"']?(?:(?:bearer|basic)\s+)?"
    r"|\b(?:bearer|basic)\s+(?=[\w+/=.~\-]{16})"
    r"|(?:passw(?:or)?d|secret|token|api_?key|private_?key)[\"']?\s?[=:]\s?[\"']?)"
    r"(?P<secret>[^\s\"',;&]+)",
    re.IGNORECASE,
)
_KEYS = re.compile(
    r"\bKEY[0-9A-Fa-f]{16,}\w*"
    r"|\beyJ[\w\-]+\.[\w\-]+\.[\w\-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)


def mask_text(text: str) -> str:
    """A sentence of ours, or one that quotes strangers, fit for a log line."""
    # Every pattern is linear in the text: whoever forges webhooks also writes these texts.
    text = _KEYS.sub(HIDDEN, text)
    text = _SECRETS.sub(lambda match: match["head"] + HIDDEN, text)
    text = _SIP.sub(lambda match: match["scheme"] + _mask_user(match["user"]), text)
    text = _URL.sub(_mask_url, text)
    text = _PHONE.sub(lambda match: match["plus"] + _mask_digits(match["digits"]), text)
    return _NAMED_PHONE.sub(lambda match: match["head"] + _mask_digits(match["digits"]), text)


def mask_number(text: str) -> str:
    """A field that holds a number, with or without its plus, or a SIP address."""
    masked = mask_text(text)
    return re.sub(r"\d{7,}", lambda match: _mask_digits(match.group()), masked)


def mask_event(value: object) -> object:
    """A new structure with the same fields, by the names Telnyx gives to sensitive ones."""
    return _mask_value("", value, 0)


def mask_field(name: str, value: object) -> object:
    return _mask_value(name, value, 0)


def printable(text: str | bytes, limit: int) -> str:
    """At most `limit` characters, each of which only shows: none moves, colours or ends a line."""
    if isinstance(text, bytes):
        # Four bytes make a character at most, so this much is enough and no more is decoded.
        text = text[: 4 * limit + 4].decode("utf-8", "backslashreplace")
    text = text[: limit + 1]
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _escape(char) for char in text)
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"[:limit]


def _escape(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:  # noqa: PLR2004  # the widths of Python's own escapes
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004


def _mask_value(name: str, value: object, depth: int) -> object:
    if value is None or isinstance(value, bool):
        return value
    plain = name.lower().replace("_", "").replace("-", "")
    if depth > _DEPTH_MAX or plain in _PERSONAL or _SECRET.search(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return HIDDEN if plain in _ANSWERS else _mask_fields(value, depth + 1)
    if isinstance(value, list | tuple):
        return [_mask_value(name, part, depth + 1) for part in value]
    return _mask_scalar(plain, value)


def _mask_fields(value: Mapping[Any, Any], depth: int) -> dict[str, object]:
    return {
        mask_text(str(name)): _mask_value(str(name), part, depth) for name, part in value.items()
    }


def _mask_scalar(plain: str, value: Any) -> object:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if plain in _NUMBERS and isinstance(value, int | float):
        return mask_number(str(value))
    if not isinstance(value, str):
        return value
    if plain in _NUMBERS:
        return mask_number(value)
    if plain in _ANSWERS and (" " in value or len(value) > _WORD_CHARACTERS_MAX):
        return HIDDEN
    return mask_text(value)


def _mask_digits(text: str) -> str:
    digits = re.sub(r"\D", "", text)
    if len(digits) >= _LONG:
        return digits[:_BEFORE] + HIDDEN + digits[-_AFTER:]
    if len(digits) >= _SHORT:
        return digits[:3] + HIDDEN + digits[-2:]
    return digits[:2] + HIDDEN + digits[-2:]


def _mask_user(user: str) -> str:
    if HIDDEN in user and not re.search(r"\d{7,}", user):
        return user
    if re.search(r"\d{7,}", user):
        return re.sub(r"\d{7,}", lambda match: _mask_digits(match.group()), user)
    return user[:2] + HIDDEN


def _mask_url(match: re.Match[str]) -> str:
    rest = re.split(r"[?#]", match["rest"], maxsplit=1)
    authority, slash, path = rest[0].partition("/")
    credentials, at, host = authority.rpartition("@")
    if at and credentials != HIDDEN:
        authority = f"{HIDDEN}@{host}"
    return match["scheme"] + authority + slash + path + (f"?{HIDDEN}" if len(rest) > 1 else "")
