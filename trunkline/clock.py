"""The only import of time: everything else is handed a clock, so tests move it by hand."""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds; may step backwards."""

    def monotonic(self) -> float:
        """Seconds that only grow; for deadlines."""


class SystemClock:
    # Bound straight to C functions: the door asks several times per webhook.
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class ManualClock:
    """A clock that stands still until told to move."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._monotonic += seconds

    def step(self, seconds: float) -> None:
        """Wall clock only, as when an operator or NTP sets it."""
        self._now += seconds


def rfc3339(unix_seconds: float) -> str:
    """UTC with milliseconds, as CloudEvents and our own headers write time."""
    milliseconds = int(unix_seconds * 1000)
    return f"{_to_the_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=8)  # the door stamps thousands of webhooks within one second
def _to_the_second(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def parse_rfc3339(text: str) -> float:
    """Unix seconds; ValueError if the text is not a date-time with a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.timestamp()
