"""How the handling of one event ends: Done, or one of these. Only outcomes travel back."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    pass


@dataclass(frozen=True, slots=True)
class Skipped:
    """Rightly nothing to do; `reason` is from a closed set, it labels a metric."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stale:
    """Too late to act: nothing was done, and nothing may be done any more."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not this time. Blocks only its own line; None leaves the wait to the worker's backoff.

    `circuit` names what failed, if others need it too; fatal: for now they need not even try.
    """

    reason: str
    after_seconds: float | None = None
    circuit: str | None = None
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Deferred:
    """Later, at this Unix time; the event leaves its place in the order until then.

    Only of a processor that `defers`.
    """

    until: float


@dataclass(frozen=True, slots=True)
class Dead:
    """Never: it goes to the dead letters with all that is known of it."""

    reason: str


Outcome = Done | Skipped | Stale | Retry | Deferred | Dead
