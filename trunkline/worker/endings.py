"""What comes of a run: each of its events settled, put back for another try, or buried."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trunkline.clock import Clock
from trunkline.errors import RecordRefused, StreamError
from trunkline.outcome import Dead, Deferred, Outcome, Retry
from trunkline.worker.circuits import Circuits
from trunkline.worker.holdings import Holdings
from trunkline.worker.letterbox import Letterbox
from trunkline.worker.lines import Queue, Work
from trunkline.worker.retries import Failure, RetryPolicy, after, asked, excused
from trunkline.worker.tally import Tally

_log = logging.getLogger("trunkline.worker")

NOT_DEFERRABLE = "cannot be deferred"


@dataclass(slots=True, eq=False)
class Run:
    queue: Queue
    works: list[Work]
    started_at: float
    task: "asyncio.Task[None]"
    given_up: bool = False

    @property
    def epoch(self) -> int:
        return self.queue.lane.epoch


class Endings:
    def __init__(
        self,
        holdings: Holdings,
        letterbox: Letterbox,
        policy: RetryPolicy,
        tally: Tally,
        clock: Clock,
        chance: Callable[[], float],
        settled: Callable[[], None],
        circuits: Circuits,
    ) -> None:
        self._holdings = holdings
        self._letterbox = letterbox
        self._policy = policy
        self._tally = tally
        self._clock = clock
        self._chance = chance
        self._settled = settled
        self._circuits = circuits

    async def conclude(self, run: Run, outcomes: Sequence[Outcome] | Failure) -> float | None:
        """Settle what can be; the rest stays in run.works. How long it shall wait, if at all."""
        works = run.works
        if run.given_up:
            # It would not be cancelled. Its events are somebody else's: no letter may be theirs.
            run.works = []
            return None
        if isinstance(outcomes, Failure):
            if len(works) > 1:
                run.queue.alone = len(works)
            return await self._again(run, [], works, outcomes)
        left: list[Work] = []  # dead, but the letter could not be posted
        for number, outcome in enumerate(outcomes):
            work = works[number]
            if isinstance(outcome, Retry):
                return await self._again(run, left, works[number:], asked(outcome))
            if isinstance(outcome, Dead | Deferred):
                if not await self._post(run, work, outcome):
                    left.append(work)
            else:
                self._settle(run, work, outcome)
        run.works = left
        return self._post_wait(left)

    async def _again(
        self, run: Run, left: list[Work], rest: list[Work], failure: Failure
    ) -> float | None:
        work = rest[0]
        now = self._clock.monotonic()
        work.trouble = after(work.trouble, failure, self._clock.now(), now)
        rest_until = self._excuse(work, failure, now)
        decided = self._policy.judge(work.trouble, failure, now, self._chance())
        run.works = [*left, *rest]
        if isinstance(decided, float):
            self._tally.retried()
            return max(decided, self._post_wait(left) or 0, rest_until - now)
        if await self._post(run, work, decided):
            run.works = [*left, *rest[1:]]
        else:
            left = [*left, work]
        return self._post_wait(left)

    def _excuse(self, work: Work, failure: Failure, now: float) -> float:
        """Of a failure that is not the event's own; until when it rests, if its circuit is open.

        Before a circuit opens nobody knows, but where nothing succeeds it is not the event.
        """
        trouble, name = work.trouble, failure.circuit
        if trouble is None or name is None:
            return now
        circuit = self._circuits.of(name)
        first = trouble.attempts - trouble.excused == 1
        if circuit.open or (circuit.successes == trouble.heard and not first):
            trouble = excused(trouble, now)
        work.trouble = replace(trouble, heard=circuit.successes)
        return circuit.behind() if circuit.open else now

    def awake(self, queue: Queue, work: Work, now: float) -> None:
        """What was deferred is due."""
        self._holdings.awake(queue.lane, queue.line[:2], work, now)

    async def move_on(self, run: Run) -> float | None:
        """What was deferred is not due yet, but has been in its tier long enough."""
        (work,) = run.works
        problem = await self._letterbox.move_on(work)
        if isinstance(problem, RecordRefused):
            work.verdict = Dead(NOT_DEFERRABLE)
            self.awake(run.queue, work, self._clock.monotonic())
        elif problem is not None:
            self._unposted(run, work, problem)
            return self._post_wait(run.works)
        elif self._holdings.settle(run.epoch, work):
            self._settled()
        run.works = []
        return None

    async def _post(self, run: Run, work: Work, verdict: Dead | Deferred) -> bool:
        work.verdict = verdict
        if self._circuits.flooded and isinstance(verdict, Dead):
            return False  # whether it may die, too, is for the operator to say
        problem = await self._letterbox.post(work)
        if isinstance(problem, RecordRefused) and isinstance(verdict, Deferred):
            return await self._post(run, work, Dead(NOT_DEFERRABLE))
        if problem is None:
            self._settle(run, work, verdict)
            return True
        self._unposted(run, work, problem)
        return False

    def _unposted(self, run: Run, work: Work, problem: StreamError) -> None:
        work.posts += 1
        self._holdings.unposted(run.epoch, work)
        _log.error(
            "a letter cannot be posted, its partition waits: %s", problem, extra=described(work)
        )

    def _settle(self, run: Run, work: Work, outcome: Outcome) -> None:
        if not self._holdings.settle(run.epoch, work):
            return
        if run.queue.alone:
            run.queue.alone -= 1
        self._circuits.settled(self._clock.monotonic(), dead=isinstance(outcome, Dead))
        self._tally.settled(outcome, self._clock.now() - work.delivery.timestamp_ms / 1_000)
        self._settled()

    def _post_wait(self, left: list[Work]) -> float | None:
        return self._policy.wait(left[0].posts, self._chance()) if left else None


def described(work: Work) -> dict[str, object]:
    delivery = work.delivery
    return {
        "topic": delivery.topic,
        "partition": delivery.partition,
        "offset": delivery.offset,
        "attempts": work.trouble.attempts if work.trouble else 0,
    }
