"""Runs what is ready: a fixed number at a time, each run to its outcomes, whatever comes of it."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from itertools import islice

from trunkline.clock import Clock
from trunkline.outcome import Dead, Deferred, Done, Outcome, Retry, Skipped, Stale
from trunkline.worker import deferral
from trunkline.worker.circuits import Circuits
from trunkline.worker.endings import Endings, Run, described
from trunkline.worker.lines import Lines, Queue, Waiting, Work
from trunkline.worker.processor import Processor
from trunkline.worker.retries import Failure, raised
from trunkline.worker.tally import Tally

_log = logging.getLogger("trunkline.worker")

_TURN_SECONDS = 0.005  # then whatever else lives on this loop has its turn
_ASK_SECONDS_MIN = 0.001


class Runs:
    """No run knows of offsets or commits; all it may do with an event is to settle it."""

    def __init__(
        self,
        processor: Processor,
        lines: Lines,
        endings: Endings,
        tally: Tally,
        clock: Clock,
        circuits: Circuits,
        *,
        defers: bool = False,
    ) -> None:
        self._processor = processor
        self._lines = lines
        self._endings = endings
        self._tally = tally
        self._clock = clock
        self._circuits = circuits
        self._defers = defers
        self.running: set[Run] = set()
        self._resting: list[asyncio.Future[None]] = []
        self._watching: list[asyncio.Future[None]] = []
        self._waking = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._turn_began_at = clock.monotonic()
        self._turn_ending = False

    async def work(self) -> None:
        """One of the fixed workers. Ends only by being cancelled, or by what nobody may catch."""
        task = asyncio.current_task()
        # A processor may have swallowed the cancellation that was to end this.
        while task is not None and not task.cancelling():
            queue = None if self._circuits.flooded else self._lines.next()
            if queue is None:
                await self._rest()
                continue
            if self._resting:
                # One wakes the next: who finds everything done by the first need not be woken.
                self.wake()
            await self._run(queue)
            if self._clock.monotonic() - self._turn_began_at > _TURN_SECONDS:
                await self._end_turn()

    def wake(self) -> None:
        """Something may be ready."""
        self._set_alarm()
        while self._resting and not self._waking and self._lines.any_ready:
            future = self._resting.pop()
            if not future.done():
                self._waking = True
                future.set_result(None)

    async def ended(self, epochs: Collection[int], seconds: float) -> list[Run]:
        """Wait for the runs of these to end; after so long, those that have not."""
        deadline = self._clock.monotonic() + seconds
        while busy := self.of(epochs):
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return busy
            future = asyncio.get_running_loop().create_future()
            self._watching.append(future)
            try:
                async with asyncio.timeout(left):
                    await future
            except TimeoutError:
                return self.of(epochs)
            finally:
                if future in self._watching:
                    self._watching.remove(future)
        return []

    def of(self, epochs: Collection[int]) -> list[Run]:
        return [run for run in self.running if run.epoch in epochs and not run.given_up]

    def give_up(self, epochs: Collection[int]) -> None:
        """Their places are no longer ours: what they do now somebody else may do, too."""
        for run in self.of(epochs):
            run.given_up = True
            run.task.cancel()

    async def _rest(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._resting.append(future)
        try:
            await future
        finally:
            self._waking = False

    async def _end_turn(self) -> None:
        if not self._turn_ending:
            self._turn_ending = True
            asyncio.get_running_loop().call_soon(self._begin_turn)
        await asyncio.sleep(0)

    def _begin_turn(self) -> None:
        self._turn_ending = False
        self._turn_began_at = self._clock.monotonic()

    def _set_alarm(self) -> None:
        at = self._lines.next_release
        if at is None or (self._alarm is not None and self._alarm_at <= at):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        wait = max(0.0, at - self._clock.monotonic())
        self._alarm_at = at
        self._alarm = asyncio.get_running_loop().call_later(wait, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        # The loop may ring a moment early by our clock: what it rang for is due.
        self._lines.release(max(self._clock.monotonic(), self._alarm_at))
        self.wake()

    # One run.

    async def _run(self, queue: Queue) -> None:
        now = self._clock.monotonic()
        if queue.waiting[0].asleep and self._rested(queue, now):
            return
        count = self._take(queue)
        if isinstance(count, float):
            until = now + max(count - self._clock.now(), _ASK_SECONDS_MIN)
            self._lines.finish(queue, until=until, asked=True)
            self._set_alarm()
            return
        if not isinstance(count, Failure) and self._shut(queue, now):
            return
        works = [queue.waiting.popleft() for _ in range(count if isinstance(count, int) else 1)]
        task = asyncio.current_task()
        assert task is not None
        run = Run(queue, works, now, task)
        self.running.add(run)
        wait: float | None = None
        try:
            if works[0].asleep:
                wait = await self._endings.move_on(run)
                return
            if isinstance(count, Failure):
                outcomes: Sequence[Outcome] | Failure = count
            elif works[0].verdict is not None:
                outcomes = [works[0].verdict]
            else:
                outcomes = await self._attempt(run)
                self._hear(run, outcomes)
            wait = await self._endings.conclude(run, outcomes)
        except BaseException as error:
            given_up = run.given_up and isinstance(error, asyncio.CancelledError)
            if not given_up or task.cancelling() > 1:
                # This worker ends here, and all of it with it: nobody else is to try the same.
                self._lines.stop(queue.lane)
                raise
        finally:
            if run.given_up:
                task.uncancel()
            self._end(run, wait)

    def _end(self, run: Run, wait: float | None) -> None:
        """What is left of the run goes back to the head of its line."""
        self.running.discard(run)
        self._circuits.left(run.queue)
        until = None if wait is None else self._clock.monotonic() + wait
        self._lines.finish(run.queue, run.works, until)
        self._set_alarm()
        for future in self._watching:
            if not future.done():
                future.set_result(None)
        self._watching.clear()

    def _rested(self, queue: Queue, now: float) -> bool:
        """Whether what was deferred is awake, or sleeps on; or else must move on."""
        work = queue.waiting[0]
        assert work.deferral is not None
        left = deferral.wait(work.deferral, self._clock.now())
        if left is None:
            self._endings.awake(queue, queue.waiting.popleft(), now)
            self._lines.finish(queue)
        elif left:
            self._lines.finish(queue, until=now + max(left, _ASK_SECONDS_MIN))
            self._set_alarm()
        return left != 0

    def _shut(self, queue: Queue, now: float) -> bool:
        """Whether what the head of this line needs is away; then it asks again."""
        head = queue.waiting[0]
        if not self._circuits.any_open or head.verdict is not None or head.asleep:
            return False
        until = self._circuits.ask(self._circuit(head), queue, now)
        if until is not None:
            self._lines.finish(queue, until=until)
            self._set_alarm()
        return until is not None

    def _circuit(self, work: Work) -> str | None:
        try:
            return self._processor.circuit(work.delivery)
        except Exception:  # noqa: BLE001  # its handling will say more
            _log.exception("%s could not say which circuit", self._processor.name)
            return None

    def _hear(self, run: Run, outcomes: Sequence[Outcome] | Failure) -> None:
        if not isinstance(outcomes, Failure):
            name, now = self._circuit(run.works[0]), self._clock.monotonic()
            self._circuits.heard(outcomes, name, run.queue, now)

    def _take(self, queue: Queue) -> int | float | Failure:
        """How many to run now, or when to ask again."""
        waiting = queue.waiting
        if queue.alone or waiting[0].verdict is not None or waiting[0].asleep:
            return 1
        try:
            count = self._processor.take(Waiting(waiting), self._clock.now())
            if isinstance(count, float):
                return count
            assert 1 <= count <= len(waiting), f"take() wants {count} of {len(waiting)}"
        except Exception as error:  # noqa: BLE001  # as in _attempt
            _log.exception("%s could not say how many to take", self._processor.name)
            return raised(error)
        for number, work in enumerate(islice(waiting, count)):
            if work.verdict is not None:
                return number  # it goes alone: nothing more is to be decided
        return count

    async def _attempt(self, run: Run) -> Sequence[Outcome] | Failure:
        for work in run.works:
            if work.trouble is None:
                self._tally.began(run.started_at - work.admitted_at)
        try:
            outcomes = await self._processor.handle([work.delivery for work in run.works])
            _check(outcomes, len(run.works), defers=self._defers)
        except Exception as error:  # noqa: BLE001  # the one place that catches what processors raise
            self._report(run, error)
            return raised(error)
        except asyncio.CancelledError as error:
            if run.task.cancelling():
                raise
            # Nobody cancelled this run: the processor waited for something that was cancelled.
            self._report(run, error)
            return raised(error)
        except (SystemExit, KeyboardInterrupt) as error:
            # These two would end the loop on the spot, and exit(0) would pass for a good end.
            self._report(run, error)
            raise RuntimeError(f"{self._processor.name} wants to exit") from error
        return outcomes

    def _report(self, run: Run, error: BaseException) -> None:
        _log.warning(
            "%s failed: %s",
            self._processor.name,
            raised(error).exception,
            exc_info=error,
            extra=described(run.works[0]) | {"events": len(run.works)},
        )


_ONLY_RETRY = "after a Retry there is only Retry: order would be lost"
_FINAL = (Done, Skipped, Stale, Dead)


def _check(outcomes: Sequence[Outcome], count: int, *, defers: bool) -> None:
    assert len(outcomes) == count, f"{len(outcomes)} outcomes for {count} events"
    retrying = False
    for outcome in outcomes:
        if isinstance(outcome, Retry):
            retrying = True
        elif isinstance(outcome, Deferred):
            assert defers, f"{outcome!r} of a processor that does not defer"
            assert deferral.sayable(outcome.until), f"{outcome!r} is no time"
            assert not retrying, _ONLY_RETRY
        else:
            assert isinstance(outcome, _FINAL), f"{outcome!r} is no outcome here"
            assert not retrying, _ONLY_RETRY
