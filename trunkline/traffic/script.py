"""Decides what synthetic traffic sends next: interleaved stories, repetitions, forgeries. Pure."""

import random
from collections import deque
from dataclasses import dataclass
from uuid import UUID

from trunkline.envelope import SIGNATURE, TIMESTAMP
from trunkline.events import samples
from trunkline.keys import DevelopmentKey

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

_OPEN_STORIES = 12
_REMEMBERED = 64
_LONG_AGO_SECONDS = 1_200

# Of a hundred things sent.
_FORGED, _UNREADABLE, _REPEATED = 5.0, 1.5, 3.0
FORGERIES = {
    "wrong key": "wrong_signature",
    "tampered body": "wrong_signature",
    "stale timestamp": "stale_timestamp",
    "missing signature": "missing_signature",
    "replayed capture": "stale_timestamp",
}
UNREADABLE = ("cut off", "without an id", "two ids", "not text")
_STORY_WEIGHTS = {"call": 8, "missed call": 3, "queued call": 4, "assorted": 4, "texml call": 2}
_TEXML_STEPS = ("texml", "texml", "texml")


@dataclass(frozen=True, slots=True)
class Posting:
    """One request to the door, and what it must answer."""

    intent: str
    status: int
    reason: str | None
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(slots=True)
class _Story:
    session: str
    kinds: tuple[str, ...]
    told: int = 0


class Script:
    """The same seed, keys and times give the same postings."""

    def __init__(self, seed: int, key: DevelopmentKey, stranger: DevelopmentKey) -> None:
        self._random = random.Random(seed)  # noqa: S311  # traffic, not secrets
        self._key = key
        self._stranger = stranger
        self._sent: deque[tuple[bytes, str]] = deque(maxlen=_REMEMBERED)
        self._texml = 0
        self._stories: list[_Story] = []

    def next(self, now: float) -> Posting:
        dice = self._random.random() * 100
        if dice < _FORGED:
            return self._forge(self._random.choice(tuple(FORGERIES)), now)
        if dice < _FORGED + _UNREADABLE:
            body = self._spoil(self._random.choice(UNREADABLE), now)
            return self._signed("unreadable", now, body, JSON)
        if dice < _FORGED + _UNREADABLE + _REPEATED and self._sent:
            body, content_type = self._random.choice(self._sent)
            # As Telnyx does when it heard no answer: the same event, marked as tried again.
            body = body.replace(b'"attempt":1', b'"attempt":2')
            return self._signed("repeated", now, body, content_type)
        body, content_type = self._tell(now)
        self._sent.append((body, content_type))
        return self._signed("event", now, body, content_type)

    # What happens.

    def _tell(self, now: float) -> tuple[bytes, str]:
        while len(self._stories) < _OPEN_STORIES:
            self._stories.append(self._begin())
        story = self._random.choice(self._stories)
        kind = story.kinds[story.told]
        story.told += 1
        if story.told == len(story.kinds):
            self._stories.remove(story)
        if kind == "texml":
            self._texml += 1
            return samples.texml(number=self._texml, now=now, session=story.session), FORM
        return samples.make(kind, number=self._random, now=now, session=story.session), JSON

    def _begin(self) -> _Story:
        names = [*samples.STORIES, "assorted", "texml call"]
        weights = [_STORY_WEIGHTS.get(name, 1) for name in names]
        (name,) = self._random.choices(names, weights)
        session = str(UUID(int=self._random.getrandbits(128), version=4))
        if name == "assorted":
            return _Story(session, tuple(self._random.sample(samples.kinds(), 3)))
        return _Story(session, _TEXML_STEPS if name == "texml call" else samples.STORIES[name])

    # What goes wrong on purpose.

    def _spoil(self, how: str, now: float) -> bytes:
        body = self._invent(now)
        if how == "cut off":
            return body[: len(body) // 2]
        if how == "without an id":
            return body.replace(b'"id":', b'"it":', 1)
        if how == "two ids":
            return body.replace(b'"id":', b'"id":"first","id":', 1)
        return b"\xff\xfe" + body

    def _forge(self, how: str, now: float) -> Posting:
        body, content_type = self._invent(now), JSON
        if how in ("tampered body", "replayed capture") and self._sent:
            body, content_type = self._random.choice(self._sent)
        old = how in ("stale timestamp", "replayed capture")
        key = self._stranger if how == "wrong key" else self._key
        signed_at = now - _LONG_AGO_SECONDS if old else now
        headers = _headers(key, signed_at, body, content_type)
        if how == "tampered body":
            body = body[:-1] + b" " + body[-1:]
        if how == "missing signature":
            headers = tuple(header for header in headers if header[0] != SIGNATURE)
        return Posting(f"forged: {how}", 401, FORGERIES[how], headers, body)

    def _invent(self, now: float) -> bytes:
        """An event of nobody's story."""
        return samples.make(self._random.choice(samples.kinds()), number=self._random, now=now)

    def _signed(self, intent: str, now: float, body: bytes, content_type: str) -> Posting:
        return Posting(intent, 200, None, _headers(self._key, now, body, content_type), body)


def _headers(
    key: DevelopmentKey, now: float, body: bytes, content_type: str
) -> tuple[tuple[str, str], ...]:
    timestamp = str(int(now))
    return (
        ("content-type", content_type),
        (SIGNATURE, key.sign(timestamp, body)),
        (TIMESTAMP, timestamp),
    )
