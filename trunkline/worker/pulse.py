"""Whether the worker lives: it does unless there is work and nothing has moved for long. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """For probes and the log. Seconds."""

    fetch_age: float  # since a fetch last came back, if only with nothing
    running_age: float  # of the run that has run longest
    still: float  # since anything was taken in or settled, or there was nothing to do
    loop_lag: float
    in_flight: int
    lag_events: int


class Pulse:
    """Lag alone is no illness: slow work may be behind, but then it moves."""

    def __init__(self, now: float) -> None:
        self._moved_at = now
        self._fetched_at = now
        self.fetches = 0

    def fetched(self, now: float, *, something: bool) -> None:
        self._fetched_at = now
        self.fetches += 1
        if something:
            self._moved_at = now

    def settled(self, now: float) -> None:
        self._moved_at = now

    def look(self, now: float, *, work: bool) -> None:
        """To be called every second or so: while there is no work, nothing need move."""
        if not work:
            self._moved_at = now

    def still(self, now: float) -> float:
        return now - self._moved_at

    def fetch_age(self, now: float) -> float:
        return now - self._fetched_at
