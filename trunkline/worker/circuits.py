"""When not to try: what many events need has failed, or too many of them die. Pure.

A circuit counts attempts of what its events have in common (a store, say). It opens when too many
fail, or at once when one says that the next would fail too; from then on one attempt at a time is
let through, with growing waits, until one succeeds. Times are monotonic.
"""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Self

from trunkline.outcome import Done, Outcome, Retry
from trunkline.settings import WorkerSection

DEAD_LETTERS = "dead_letters"
_SLICES = 60
_ASK_SECONDS = 1.0  # while somebody else tries


@dataclass(frozen=True, slots=True)
class CircuitPolicy:
    window_seconds: float
    attempts_min: int
    failed_share: float
    probe_first_seconds: float
    probe_most_seconds: float
    dead_max: int
    dead_share: float

    @classmethod
    def of(cls, limits: WorkerSection) -> Self:
        return cls(
            window_seconds=limits.circuit_window_seconds,
            attempts_min=limits.circuit_attempts_min,
            failed_share=limits.circuit_failed_share,
            probe_first_seconds=limits.circuit_probe_first_seconds,
            probe_most_seconds=limits.circuit_probe_most_seconds,
            dead_max=limits.circuit_dead_max,
            dead_share=limits.circuit_dead_share,
        )


class Window:
    """How much there was of late, and how much of it was bad."""

    def __init__(self, seconds: float) -> None:
        self._slice = seconds / _SLICES
        self._of: deque[list[int]] = deque()  # [which, all, bad]

    def add(self, now: float, *, bad: bool) -> None:
        which = int(now / self._slice)
        if not self._of or self._of[-1][0] != which:
            self._of.append([which, 0, 0])
        self._of[-1][1] += 1
        self._of[-1][2] += bad

    def counts(self, now: float) -> tuple[int, int]:
        while self._of and self._of[0][0] <= int(now / self._slice) - _SLICES:
            self._of.popleft()
        return sum(it[1] for it in self._of), sum(it[2] for it in self._of)

    def clear(self) -> None:
        self._of.clear()


class Circuit:
    def __init__(self, policy: CircuitPolicy) -> None:
        self._policy = policy
        self._window = Window(policy.window_seconds)
        self._probes = 0  # that failed, since it opened
        self._probe_at = 0.0
        self._prober: Hashable | None = None
        self.open = False
        self.successes = 0

    def ask(self, who: Hashable, now: float) -> float | None:
        """None: go on, and if it is open, you are the probe. Else when to ask again."""
        if not self.open:
            return None
        if self._prober is not None:
            return max(self._probe_at, now + _ASK_SECONDS)
        if now < self._probe_at:
            return self._probe_at
        self._prober = who
        return None

    def behind(self) -> float:
        """When one that has failed may ask: after those who waited, lest it be all we try."""
        return self._probe_at + _ASK_SECONDS

    def succeeded(self, who: Hashable, now: float) -> None:
        if self.open and who != self._prober:
            return  # it began before, and says nothing of now
        self.successes += 1
        if self.open:
            self.open, self._prober, self._probes = False, None, 0
            self._window.clear()
        self._window.add(now, bad=False)

    def failed(self, who: Hashable, now: float, *, fatal: bool) -> None:
        if self.open:
            if who == self._prober:
                self._prober = None
                self._probes += 1
                self._wait(now)
            return
        self._window.add(now, bad=True)
        attempts, bad = self._window.counts(now)
        policy = self._policy
        many = attempts >= policy.attempts_min and bad >= policy.failed_share * attempts
        if fatal or many:
            self.open = True
            self._wait(now)

    def left(self, who: Hashable) -> None:
        """Its attempt has ended, whatever came of it."""
        if who == self._prober:
            self._prober = None

    def _wait(self, now: float) -> None:
        policy = self._policy
        wait = policy.probe_first_seconds * 2.0 ** min(self._probes, 32)
        self._probe_at = now + min(policy.probe_most_seconds, wait)


class Circuits:
    """All of one worker; `changed` hears of each that opens or closes."""

    def __init__(self, policy: CircuitPolicy, changed: Callable[[str, bool], None]) -> None:
        self._policy = policy
        self._changed = changed
        self._of: dict[str, Circuit] = {}
        self._settled = Window(policy.window_seconds)
        self.flooded = False  # by dead letters: nothing is begun until an operator says so

    @property
    def any_open(self) -> bool:
        return self.flooded or any(circuit.open for circuit in self._of.values())

    def ask(self, name: str | None, who: Hashable, now: float) -> float | None:
        circuit = self._of.get(name) if name is not None else None
        return circuit.ask(who, now) if circuit is not None else None

    def of(self, name: str) -> Circuit:
        return self._of.setdefault(name, Circuit(self._policy))

    def heard(
        self, outcomes: Sequence[Outcome], name: str | None, who: Hashable, now: float
    ) -> None:
        """What came of one attempt, which by its events needed the circuit `name`."""
        failure = next((it for it in outcomes if isinstance(it, Retry) and it.circuit), None)
        if failure is not None and failure.circuit is not None:
            self._failed(failure.circuit, who, now, fatal=failure.fatal)
        elif name is not None and outcomes and isinstance(outcomes[0], Done):
            circuit = self.of(name)
            was_open = circuit.open
            circuit.succeeded(who, now)
            if was_open and not circuit.open:
                self._changed(name, False)  # noqa: FBT003  # open or not
        self.left(who)

    def left(self, who: Hashable) -> None:
        for circuit in self._of.values():
            circuit.left(who)

    def settled(self, now: float, *, dead: bool) -> None:
        self._settled.add(now, bad=dead)
        if dead and not self.flooded:
            events, deaths = self._settled.counts(now)
            policy = self._policy
            if deaths > policy.dead_max and deaths >= policy.dead_share * events:
                self.flooded = True
                self._changed(DEAD_LETTERS, True)  # noqa: FBT003  # open or not

    def resume(self) -> None:
        """By an operator; as many may die again before it stops the next time."""
        if self.flooded:
            self.flooded = False
            self._settled.clear()
            self._changed(DEAD_LETTERS, False)  # noqa: FBT003  # open or not

    def _failed(self, name: str, who: Hashable, now: float, *, fatal: bool) -> None:
        circuit = self.of(name)
        was_open = circuit.open
        circuit.failed(who, now, fatal=fatal)
        if circuit.open and not was_open:
            self._changed(name, True)  # noqa: FBT003  # open or not
