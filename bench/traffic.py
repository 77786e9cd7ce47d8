"""The webhooks that are sent: signed beforehand, ready for the wire, the same for every door."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from tests.load.webhooks import CALL_KINDS, MANY_KINDS, event_id, request
from trunkline.events import samples
from trunkline.keys import DevelopmentKey

# Signed timestamps hold for 300 s; nothing may be refused for its age in the middle of a case.
_OLD_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Mix:
    """`keys` is how many calls (so record keys) are under way at a time."""

    name: str = "mixed"
    kinds: Sequence[str] = MANY_KINDS
    keys: int = 1_000
    body_bytes: int | None = None


MIXED = Mix()
CALLS = Mix("calls only", CALL_KINDS)


class Traffic:
    """Endless fresh webhooks of one mix. Made from a few templates: only ids differ."""

    def __init__(self, key: DevelopmentKey, mix: Mix, seed: int = 1) -> None:
        self._key = key
        self._random = random.Random(seed)  # noqa: S311  # a seeded load, not a secret
        self._sessions = [str(self._uuid()) for _ in range(mix.keys)]
        session = str(self._uuid())
        now = time.time()
        bodies = [
            padded(samples.make(kind, number=seed, now=now, session=session), mix.body_bytes)
            for kind in mix.kinds
        ]
        self._session = session.encode()
        self._templates = [(body, event_id(body).encode()) for body in bodies]

    def take(self, count: int) -> list[bytes]:
        timestamp = str(int(time.time()))
        made = []
        for number in range(count):
            body, old = self._templates[number % len(self._templates)]
            # A number order's id is its session, which is why the session goes first.
            body = body.replace(self._session, self._random.choice(self._sessions).encode())
            body = body.replace(old, str(self._uuid()).encode())
            made.append(request(body, timestamp, self._key.sign(timestamp, body)))
        return made

    def _uuid(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)


class Supply:
    """Keeps what was made: every door measured gets the same webhooks, each of them once."""

    def __init__(self, key: DevelopmentKey) -> None:
        self._key = key
        self._made: dict[Mix, tuple[float, list[bytes]]] = {}
        self._traffic: dict[Mix, Traffic] = {}

    def of(self, mix: Mix, count: int) -> Iterator[bytes]:
        made_at, made = self._made.get(mix, (0.0, []))
        if time.monotonic() - made_at > _OLD_SECONDS:
            made_at, made = time.monotonic(), []
            self._made = {mix: (made_at, made)}  # one mix at a time: they are large
        if mix not in self._traffic:
            self._traffic[mix] = Traffic(self._key, mix)
        made += self._traffic[mix].take(max(0, count - len(made)))
        self._made[mix] = made_at, made
        return iter(made)


def padded(body: bytes, size: int | None) -> bytes:
    """A JSON object with a string added, so that it has this size."""
    if size is None or len(body) >= size:
        return body
    head = body.rstrip()[:-1] + b',"padding":"'
    return head + b"x" * (size - len(head) - 2) + b'"}'


def messages(wires: Sequence[bytes]) -> list[tuple[bytes, bytes, bytes]]:
    """(signature, timestamp, body) as they were signed, out of requests for the wire."""
    found = []
    for wire in wires:
        head, _, body = wire.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        found.append((fields[b"telnyx-signature-ed25519"], fields[b"telnyx-timestamp"], body))
    return found
