"""When what failed is tried again, and when it is dead."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.outcome import Dead, Retry
from trunkline.worker.retries import (
    EXHAUSTED,
    MESSAGE_BYTES_MAX,
    Failure,
    RetryPolicy,
    Trouble,
    after,
    asked,
    clipped,
    raised,
)

POLICY = RetryPolicy(attempts_max=5, seconds_max=60.0, first_seconds=0.2, most_seconds=3.0)
FAILED = raised(ValueError("no"))


def failed(times: int, *, failure: Failure = FAILED, apart: float = 0.0) -> Trouble:
    trouble = None
    for number in range(times):
        trouble = after(trouble, failure, 1_000.0 + number * apart, number * apart)
    assert trouble is not None
    return trouble


@given(st.integers(1, 4), st.floats(0, 1, exclude_max=True))
def test_waits_grow_by_chance_within_bounds(attempts: int, chance: float) -> None:
    wait = POLICY.judge(failed(attempts), FAILED, 0.0, chance)
    assert isinstance(wait, float)
    assert 0 < wait <= min(0.2 * 2 ** (attempts - 1), 3.0)


def test_after_so_many_attempts_it_is_dead() -> None:
    assert POLICY.judge(failed(4), FAILED, 0.0, 0.0) == 1.6
    assert POLICY.judge(failed(5), FAILED, 0.0, 0.0) == Dead(EXHAUSTED)


def test_after_so_long_it_is_dead() -> None:
    assert isinstance(POLICY.judge(failed(2), FAILED, 59.9, 0.0), float)
    assert POLICY.judge(failed(2), FAILED, 60.0, 0.0) == Dead(EXHAUSTED)


def test_a_wait_that_was_asked_for_is_kept_and_not_held_against_the_event() -> None:
    pacing = asked(Retry("too many requests", after_seconds=120.0))
    trouble = failed(2, failure=pacing, apart=120.0)
    assert POLICY.judge(trouble, pacing, 121.0, 0.5) == 120.0
    assert POLICY.judge(trouble, pacing, 299.9, 0.5) == 120.0
    assert POLICY.judge(trouble, pacing, 300.0, 0.5) == Dead(EXHAUSTED)
    assert POLICY.judge(trouble, asked(Retry("", -1.0)), 1.0, 0.5) == 0.0


def test_a_cancellation_nobody_asked_for_never_ends_in_death() -> None:
    failure = raised(asyncio.CancelledError())
    assert POLICY.judge(failed(500, failure=failure), failure, 1e6, 0.0) == 3.0


def test_the_first_and_the_last_failure_are_remembered() -> None:
    trouble = after(failed(3, apart=10.0), raised(KeyError("late")), 1_500.0, 500.0)
    assert (trouble.attempts, trouble.first_at, trouble.last_at) == (4, 1_000.0, 1_500.0)
    assert (trouble.exception, trouble.message) == ("KeyError", "'late'")


class Rude(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_an_exception_is_named_in_full_and_whatever_it_does() -> None:
    assert raised(Rude()).exception == f"{__name__}.Rude"
    assert raised(Rude()).message


@pytest.mark.parametrize("text", ["é" * 2_000, "\ud800" * 5, "a" * 1_023 + "é"])
def test_a_message_is_at_most_a_kibibyte_of_sound_text(text: str) -> None:
    assert len(clipped(text).encode()) <= MESSAGE_BYTES_MAX
