"""A thread of one's own for work that blocks: jobs go in from the event loop, results come back."""

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from trunkline.clock import Clock

T = TypeVar("T")
_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class ThreadClosed(Exception):
    pass


class JobThread:
    """Runs jobs one at a time, in the order given.

    A daemon, because a disk that hangs must not hold up the exit.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._ended: asyncio.Event | None = None
        self._running_since: float | None = None

    @property
    def stuck_seconds(self) -> float:
        """How long the job under way has taken so far."""
        since = self._running_since
        return 0.0 if since is None else self._clock.monotonic() - since

    async def run(self, job: Callable[[], T]) -> T:
        if self._ended:
            raise ThreadClosed
        if not self._thread.is_alive():
            self._thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((loop, future, job))
        return await future

    async def close(self, last: Callable[[], None], seconds: float) -> bool:
        """Run `last` after everything already given and end; False if that takes too long."""
        if self._ended:
            return True
        ending = asyncio.ensure_future(self.run(last)) if self._thread.is_alive() else None
        await asyncio.sleep(0)  # lets `ending` queue its job before the end is queued
        self._ended = asyncio.Event()
        self._jobs.put(None)
        if ending is None:
            return True
        done, _ = await asyncio.wait({ending}, timeout=seconds)
        for task in done:
            task.result()
        return bool(done)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            loop, future, job = item
            self._running_since = self._clock.monotonic()
            try:
                result, error = job(), None
            except Exception as problem:  # noqa: BLE001  # handed to whoever awaits the job
                result, error = None, problem
            self._running_since = None
            try:
                loop.call_soon_threadsafe(_deliver, future, result, error)
            except RuntimeError:
                return  # the loop is closed: nobody is left to hear of this job or the next


def _deliver(future: "asyncio.Future[Any]", result: object, error: Exception | None) -> None:
    if future.done():
        return  # whoever waited was cancelled
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
