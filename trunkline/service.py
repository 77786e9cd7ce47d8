"""How a program lives and dies: one loop, signals turned into an event, a heart that beats."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator

import uvloop

from trunkline.clock import Clock

_BEAT_SECONDS = 0.1
_SWITCH_SECONDS = 0.001


def run(program: Callable[[asyncio.Event], Coroutine[None, None, int]]) -> int:
    """Run a program until it returns; SIGTERM and SIGINT ask it to stop by setting its event."""

    async def main() -> int:
        stop = asyncio.Event()
        with _signals(stop):
            return await program(stop)

    # The embedded stream's thread works in short steps between waits for the disk. At the default
    # of 5 ms a busy loop keeps it from each of them that long: a tenth of the throughput.
    sys.setswitchinterval(_SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


class Heart:
    """Beats on the event loop; a beat that comes late shows the loop was blocked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock.monotonic()
        self.lag_seconds = 0.0

    async def beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            now = self._clock.monotonic()
            self.lag_seconds = max(0.0, now - self._last - _BEAT_SECONDS)
            self._last = now

    @property
    def silent_seconds(self) -> float:
        return self._clock.monotonic() - self._last


async def until(stop: asyncio.Event, seconds: float) -> bool:
    """Wait this long, or until asked to stop: then True, at once."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True
