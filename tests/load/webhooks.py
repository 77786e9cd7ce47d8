"""A pool of signed webhooks, made beforehand: what is sent under load costs nothing to make."""

import base64
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice

import orjson

from trunkline.events import samples
from trunkline.keys import DevelopmentKey

CALL_KINDS = ("call.initiated", "call.answered", "call.bridged", "call.hangup")
MANY_KINDS = (
    *CALL_KINDS,
    "call.recording.saved",
    "conference.created",
    "video.room.session.started",
    "number_order.complete",
)


class Nature(Enum):
    """What a webhook is, and so what must become of it."""

    HONEST = "honest"
    UNREADABLE = "unreadable"
    FORGED = "forged"


@dataclass(frozen=True, slots=True)
class Shot:
    """One webhook, ready for the wire. Sent twice, it is the same object twice."""

    id: str
    kind: str
    nature: Nature
    digest: bytes  # sha256 of the body: what the stream must hold
    wire: bytes
    body_bytes: int


@dataclass(frozen=True, slots=True)
class Mix:
    kinds: Sequence[str] = MANY_KINDS
    sessions: int = 100  # how many stories (so keys) are told at once
    body_bytes: int | None = None  # padded up to this
    forged: float = 0.0  # shares of what is sent
    unreadable: float = 0.0
    duplicates: float = 0.0


class Pool:
    def __init__(
        self, key: DevelopmentKey, now: float, mix: Mix | None = None, seed: int = 1
    ) -> None:
        self._key = key
        self._now = now
        self._mix = mix or Mix()
        self._random = random.Random(seed)  # noqa: S311  # a seeded load, not a secret
        self._stranger = DevelopmentKey(bytes(32))
        self._serial = 0
        self._stories = [f"story-{seed}-{number}" for number in range(self._mix.sessions)]

    def take(self, count: int) -> list[Shot]:
        """So many, signed beforehand: what is measured should not pay for signing."""
        return list(islice(self._stream(), count))

    def endless(self, now: Callable[[], float]) -> Iterator[Shot]:
        """Each signed when it is asked for, at about 0.1 ms."""
        for shot in self._stream():
            yield shot
            self._now = now()

    def _stream(self) -> Iterator[Shot]:
        recent: list[Shot] = []
        while True:
            draw = self._random.random()
            if recent and draw < self._mix.duplicates:
                yield self._random.choice(recent)
                continue
            shot = self._make(draw - self._mix.duplicates)
            recent = [*recent[-31:], shot]
            yield shot

    def _make(self, draw: float) -> Shot:
        self._serial += 1
        if draw < 0:
            draw = 1.0
        if draw < self._mix.unreadable:
            return self._unreadable()
        kind = self._mix.kinds[self._serial % len(self._mix.kinds)]
        session = self._random.choice(self._stories)
        body = samples.make(kind, number=self._random, now=self._now, session=session)
        if self._mix.body_bytes is not None and len(body) < self._mix.body_bytes:
            body = _padded(body, self._mix.body_bytes)
        if draw - self._mix.unreadable < self._mix.forged:
            return self._forged(kind, body)
        return self._shot(event_id(body), kind, Nature.HONEST, body, *self._sign(body))

    def _sign(self, body: bytes) -> tuple[str, str]:
        timestamp = str(int(self._now))
        return timestamp, self._key.sign(timestamp, body)

    def _shot(
        self, name: str, kind: str, nature: Nature, body: bytes, timestamp: str, signature: str
    ) -> Shot:
        wire = request(body, timestamp, signature)
        return Shot(name, kind, nature, hashlib.sha256(body).digest(), wire, len(body))

    def _unreadable(self) -> Shot:
        body = self._random.choice(
            (
                b"not json %d" % self._serial,
                b'{"data":{"id":"","event_type":"call.initiated","n":%d}}' % self._serial,
                b'{"data":{"event_type":"call.initiated","n":%d}}' % self._serial,
                b"\xff\xfe%d" % self._serial,
                b"[" * 3_000 + b"%d" % self._serial,
            )
        )
        digest = hashlib.sha256(body).hexdigest()
        return self._shot(digest, "unreadable", Nature.UNREADABLE, body, *self._sign(body))

    def _forged(self, kind: str, body: bytes) -> Shot:
        timestamp, signature = self._sign(body)
        name = event_id(body)
        match self._random.randrange(4):
            case 0:  # somebody else's signature
                signature = self._stranger.sign(timestamp, body)
            case 1:  # a byte of the body changed on the way
                body = body[:-2] + b" " + body[-2:]
            case 2:  # an old webhook sent again with a fresh time
                signature = self._key.sign(str(int(self._now) - 100), body)
            case _:  # noise
                signature = base64.b64encode(self._random.randbytes(64)).decode()
        return self._shot(name, kind, Nature.FORGED, body, timestamp, signature)


def event_id(body: bytes) -> str:
    document = orjson.loads(body)
    found = document.get("data", document)["id"]
    assert isinstance(found, str)
    return found


def request(
    body: bytes, timestamp: str, signature: str, *, path: str = "/webhooks/telnyx"
) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: door.example\r\nContent-Type: application/json\r\n"
        f"User-Agent: telnyx-webhooks\r\ntelnyx-signature-ed25519: {signature}\r\n"
        f"telnyx-timestamp: {timestamp}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _padded(body: bytes, size: int) -> bytes:
    head = body.rstrip()[:-1] + b',"padding":"'
    return head + b"x" * max(0, size - len(head) - 2) + b'"}'
