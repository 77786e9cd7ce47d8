"""Whether what failed is tried again, and when; or that it is dead. Pure."""

from dataclasses import dataclass, replace

from trunkline.backoff import backoff
from trunkline.outcome import Dead, Retry

EXHAUSTED = "retries exhausted"
MESSAGE_BYTES_MAX = 1_024


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that came to nothing."""

    exception: str  # its class; empty if the processor asked for another try by itself
    message: str
    after_seconds: float | None = None
    circuit: str | None = None  # by whose failing it came to nothing
    last: bool = True  # whether it may be the one that ends it


@dataclass(frozen=True, slots=True)
class Trouble:
    """All attempts at one event so far that came to nothing."""

    attempts: int
    first_at: float  # Unix
    last_at: float
    since: float  # monotonic, of the first
    asked_seconds: float  # of waiting that the processor asked for: not held against the event
    exception: str
    message: str
    excused: int = 0  # of the attempts, not held against the event: what it needs was away
    heard: int = 0  # so many attempts of others had succeeded on its circuit, at the last failure


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    attempts_max: int
    seconds_max: float
    first_seconds: float
    most_seconds: float

    def judge(self, trouble: Trouble, failure: Failure, now: float, chance: float) -> float | Dead:
        """How many seconds to wait before the next try, or Dead. `now` is monotonic."""
        spent = now - trouble.since - trouble.asked_seconds
        over = trouble.attempts - trouble.excused >= self.attempts_max or spent >= self.seconds_max
        if over and failure.last:
            return Dead(EXHAUSTED)
        if failure.after_seconds is not None:
            return max(0.0, failure.after_seconds)
        return self.wait(trouble.attempts - trouble.excused, chance)

    def wait(self, attempts: int, chance: float) -> float:
        return backoff(max(0, attempts - 1), self.first_seconds, self.most_seconds, chance)


def asked(retry: Retry) -> Failure:
    return Failure("", clipped(retry.reason), retry.after_seconds, retry.circuit)


def raised(error: BaseException) -> Failure:
    """Only an Exception says something of the event; a cancellation nobody asked for does not."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else _full_name(kind)
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  # a stranger's __str__ must not fell the worker
        message = "(its text cannot be had)"
    return Failure(clipped(name), clipped(message), last=isinstance(error, Exception))


def excused(trouble: Trouble, monotonic: float) -> Trouble:
    """The last attempt is not held against the event, nor the time until now."""
    return replace(trouble, excused=trouble.excused + 1, since=monotonic, asked_seconds=0.0)


def after(trouble: Trouble | None, failure: Failure, now: float, monotonic: float) -> Trouble:
    """The trouble with one failure more."""
    return Trouble(
        attempts=(trouble.attempts if trouble else 0) + 1,
        first_at=trouble.first_at if trouble else now,
        last_at=now,
        since=trouble.since if trouble else monotonic,
        asked_seconds=(trouble.asked_seconds if trouble else 0) + (failure.after_seconds or 0),
        exception=failure.exception,
        message=failure.message,
        excused=trouble.excused if trouble else 0,
        heard=trouble.heard if trouble else 0,
    )


def clipped(text: str) -> str:
    """At most so many bytes of UTF-8, and always encodable."""
    raw = text.encode("utf-8", "backslashreplace")[:MESSAGE_BYTES_MAX]
    return raw.decode("utf-8", "ignore")


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
