"""An event loop on virtual time, shared by simulated processes that can be paused and crashed."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from contextvars import Context, ContextVar
from heapq import heappop
from typing import Any

EPOCH = 1_700_000_000.0

# Tasks and timers inherit the context they were made in, and so their process.
_PROCESS: ContextVar["Process | None"] = ContextVar("process", default=None)


class Unquiet(AssertionError):
    """The run did not come to an end within its bounds."""


class VirtualLoop(asyncio.BaseEventLoop):
    """When nothing is ready, time jumps to the next timer. Set `failure` to end the run with it."""

    def __init__(self, steps_max: int, seconds_max: float) -> None:
        super().__init__()
        self._now = 0.0
        self._steps_max = steps_max
        self._seconds_max = seconds_max
        self._ready: deque[asyncio.Handle]
        self._scheduled: list[asyncio.TimerHandle]
        self.steps = 0
        self.failure: BaseException | None = None
        self.processes: list[Process] = []
        self._unwinding = False

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if self.failure is not None and not self._unwinding:
            raise self.failure
        self._gather()
        ready = self._ready
        for _ in range(len(ready)):
            handle = ready.popleft()
            process = handle._context.get(_PROCESS)  # type: ignore[attr-defined]
            if process is not None and process.stopped and not self._unwinding:
                process.hold(handle)
            elif not handle._cancelled:
                self.steps += 1
                handle._run()
        if self.steps > self._steps_max and not self._unwinding:
            raise Unquiet(f"not at rest after {self.steps} steps, at {self._now:.1f} s")

    def _gather(self) -> None:
        """Make ready what is due; let time pass if nothing else is left to do."""
        timers = self._scheduled
        while timers and timers[0]._cancelled:
            heappop(timers)
        if not self._ready and not self._stopping:
            if not timers:
                raise Unquiet(f"everybody waits for nothing, at {self._now:.1f} s")
            self._now = max(self._now, timers[0].when())
            if self._now > self._seconds_max and not self._unwinding:
                raise Unquiet(f"not at rest after {self._now:.1f} s")
        due = self._now + 1e-9
        while timers and timers[0].when() <= due:
            timer = heappop(timers)
            timer._scheduled = False  # type: ignore[attr-defined]
            self._ready.append(timer)

    _stopping: bool

    def unwind(self) -> None:
        """End every task, also of the crashed: torn down by the collector, some take Python along.

        What they do by it is no part of the story any more.
        """
        self._unwinding = True
        for process in self.processes:
            self._ready.extend(process.held)
        ending = self.create_task(self._cancel_all())
        ending.add_done_callback(lambda _: self.stop())
        while not ending.done():  # a run that failed may have left a stop of its own
            self.run_forever()
        ending.result()
        self.close()

    async def _cancel_all(self) -> None:
        for _ in range(100):
            left = asyncio.all_tasks(self) - {asyncio.current_task()}
            if not left:
                return
            for task in left:
                task.cancel()
            await asyncio.sleep(1.0)
        raise Unquiet(f"{left} cannot be ended")

    def _write_to_self(self) -> None:
        pass  # only threads would need it

    def _process_events(self, event_list: Any) -> None:
        raise AssertionError(event_list)


class Process:
    """Everything started in its context stands still while it is paused, for ever once crashed."""

    def __init__(self, loop: VirtualLoop, name: str, skew_seconds: float = 0.0) -> None:
        self.name = name
        self.loop = loop
        self.clock = VirtualClock(loop, skew_seconds)
        self.dead = False
        self.stopped = False  # paused or dead
        self.held: list[asyncio.Handle] = []
        loop.processes.append(self)
        self._context = Context()
        self._context.run(_PROCESS.set, self)

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        return self.loop.create_task(work, name=name, context=self._context.copy())

    def hold(self, handle: asyncio.Handle) -> None:
        self.held.append(handle)

    def pause(self) -> None:
        self.stopped = True

    def resume(self) -> None:
        if not self.dead:
            self.stopped = False
            self.loop._ready.extend(self.held)
            self.held = []

    def crash(self) -> None:
        self.dead = self.stopped = True


class VirtualClock:
    def __init__(self, loop: VirtualLoop, skew_seconds: float = 0.0) -> None:
        self._loop = loop
        self._skew = skew_seconds

    def now(self) -> float:
        return EPOCH + self._loop.time() + self._skew

    def monotonic(self) -> float:
        return self._loop.time() + 100.0


def run(loop: VirtualLoop, work: Coroutine[Any, Any, None]) -> None:
    """To its end or to the first failure. `unwind` is to follow."""
    loop.set_exception_handler(lambda _loop, _context: None)  # tasks thrown away are no news
    loop.run_until_complete(work)
    if loop.failure is not None:
        raise loop.failure
