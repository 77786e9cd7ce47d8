"""What `tail` shows of an event and which events it shows: filters, lines, JSON, proofs. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from trunkline.clock import parse_rfc3339
from trunkline.console.summary import as_json_line, event_of, summarise
from trunkline.envelope import SIGNATURE, Envelope
from trunkline.errors import Misconfigured
from trunkline.keys import parse_key
from trunkline.mask import mask_event, printable
from trunkline.settings import PublicKeyEntry

_KEY_TEXT_CHARACTERS = 44  # 32 bytes in base64


@dataclass(frozen=True, slots=True)
class Filter:
    """Every filter that is set must match; of several kinds any one."""

    kinds: tuple[str, ...] = ()
    key: str | None = None
    account: str | None = None

    def admits(self, envelope: Envelope) -> bool:
        kind = envelope.type or ""
        return (
            (not self.kinds or any(fnmatchcase(kind, pattern) for pattern in self.kinds))
            and self.key in (None, envelope.key)
            and self.account in (None, envelope.account)
        )


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether the key the event carries signed exactly these bytes, and whether that key is ours.

    Anybody who may write to the stream could have put the key there: only a known one convicts.
    """

    good: bool
    signed: bool
    key: str
    known: bool

    @property
    def text(self) -> str:
        if not self.signed:
            return "UNSIGNED"
        if not self.good:
            return f"NOT PROVEN by {self.key[:8]}"
        return f"proven by {self.key[:8]}" + ("" if self.known else ", a key not in the settings")


def prove(envelope: Envelope, known: Collection[str]) -> Proof:
    text = envelope.headers.get("tl-key", "")
    try:
        good = envelope.proven(parse_key("tl-key", PublicKeyEntry(key=text)))
    except Misconfigured:  # no key, or none that could prove anything
        good = False
    shown = printable(text, _KEY_TEXT_CHARACTERS)
    return Proof(good, SIGNATURE in envelope.headers, shown, text in known)


def text_line(envelope: Envelope, proof: Proof | None, *, masked: bool) -> str:
    shown = summarise(envelope, masked=masked)
    parties = f"{shown.sender or '?'} → {shown.receiver or '?'}"
    words = [
        _local(shown.time),
        f"{shown.kind:<34}",
        f"{shown.key:<9}",
        shown.account,
        parties if shown.sender or shown.receiver else "",
        f"({shown.problem})" if shown.problem else "",
        f"[{proof.text}]" if proof else "",
    ]
    return "  ".join(word for word in words if word).rstrip()


def _local(time: str) -> str:
    try:
        moment = datetime.fromtimestamp(parse_rfc3339(time)).astimezone()
    except (ValueError, OverflowError, OSError):
        return printable(time, 12)
    return moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 1000:03d}"


def json_line(envelope: Envelope, proof: Proof | None, *, masked: bool) -> str:
    delivery = envelope.delivery
    event = event_of(envelope)
    line: dict[str, object] = {
        "topic": delivery.topic,
        "partition": delivery.partition,
        "offset": delivery.offset,
        "id": envelope.id,
        "type": envelope.type,
        "key": envelope.key,
        "account": envelope.account,
        "received_at": envelope.received_at,
        "event": mask_event(event) if masked else event,
    }
    if proof is not None:
        line["proof"] = {
            "signed": proof.signed,
            "good": proof.good,
            "key": proof.key,
            "known": proof.known,
        }
    return as_json_line(line)
