"""The envelope: a webhook's exact bytes as the value, and all that proves them as headers."""

from dataclasses import dataclass

from trunkline import __version__
from trunkline.keys import PublicKey, decode_signature, verify
from trunkline.stream import Delivery, Headers

UNREADABLE = "trunkline.unreadable"
TEXML = "texml.callback"

SIGNATURE = "telnyx-signature-ed25519"
TIMESTAMP = "telnyx-timestamp"

_SPEC_VERSION = ("ce_specversion", b"1.0")
_OUR_VERSION = ("tl-version", __version__.encode())


@dataclass(slots=True)
class Proof:
    """What Telnyx sent beside the body, and the key that proved it."""

    signature: bytes
    timestamp: bytes
    key: PublicKey


@dataclass(slots=True)
class Label:
    """What the outside of the envelope says of the event inside."""

    id: str
    type: str
    key: str
    time: str | None
    unreadable: str | None = None  # why it goes to quarantine


def write(
    label: Label,
    proof: Proof,
    account: str,
    content_type: bytes,
    received_at: str,
    trace: Headers,
) -> Headers:
    """CloudEvents 1.0 in Kafka's binary mode, and ours beside it."""
    headers = [
        _SPEC_VERSION,
        ("ce_id", label.id.encode()),
        ("ce_type", label.type.encode()),
        ("ce_source", b"//api.telnyx.com/accounts/" + account.encode()),
        ("ce_subject", label.key.encode()),
        ("content-type", content_type),
        (SIGNATURE, proof.signature),
        (TIMESTAMP, proof.timestamp),
        ("tl-account", account.encode()),
        ("tl-key", proof.key.text.encode()),
        ("tl-received-at", received_at.encode()),
        _OUR_VERSION,
        *trace,
    ]
    if label.time is not None:
        headers.append(("ce_time", label.time.encode()))
    if label.unreadable is not None:
        headers.append(("tl-reason", label.unreadable.encode()))
    return tuple(headers)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A delivery read back. Every field may be missing: other producers may write to our topics."""

    delivery: Delivery
    headers: dict[str, str]

    @classmethod
    def of(cls, delivery: Delivery) -> "Envelope":
        headers: dict[str, str] = {}
        for name, value in delivery.headers:
            headers.setdefault(name, value.decode("utf-8", "replace"))
        return cls(delivery, headers)

    @property
    def id(self) -> str | None:
        return self.headers.get("ce_id")

    @property
    def type(self) -> str | None:
        return self.headers.get("ce_type")

    @property
    def key(self) -> str | None:
        key = self.delivery.key
        return None if key is None else key.decode("utf-8", "replace")

    @property
    def account(self) -> str | None:
        return self.headers.get("tl-account")

    @property
    def received_at(self) -> str | None:
        return self.headers.get("tl-received-at")

    def proven(self, key: PublicKey) -> bool:
        """Prove the event again, offline, with a key one trusts (its text is in `tl-key`)."""
        try:
            signature = decode_signature(self.headers[SIGNATURE].encode())
            timestamp = self.headers[TIMESTAMP].encode()
        except KeyError:
            return False
        body = self.delivery.value
        if signature is None or body is None:
            return False
        return verify(key, signature, timestamp, body)
