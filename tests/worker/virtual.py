"""A loop on which waiting takes no time: when all wait, its clock leaps to the next timer."""

import asyncio
import functools
import math
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

EPOCH = 1_700_000_000.0
Arguments = ParamSpec("Arguments")


class _Leaping(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everything waits, and nothing will ever wake it"
        # A little more, so that it has passed the timer's time, whatever floats make of the sum.
        self.now += max(0.0, timeout) + 4 * math.ulp(self.now + timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)
        # Else a timer rings a moment early, its owner waits for that moment, and it never passes.
        self._clock_resolution = 0.0

    def time(self) -> float:
        return self._leaping.now


class VirtualClock:
    def now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def on_virtual_time(
    test: Callable[Arguments, Coroutine[Any, Any, None]],
) -> Callable[Arguments, None]:
    @functools.wraps(test)
    def run(*arguments: Arguments.args, **named: Arguments.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*arguments, **named))

    return run
