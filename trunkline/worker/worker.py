"""The worker's life: join, take in, hand over, leave; and join again when the stream let it go."""

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Mapping

from trunkline.backoff import backoff
from trunkline.clock import Clock
from trunkline.errors import GroupTaken, StreamUnavailable
from trunkline.metrics import Metrics
from trunkline.service import Heart, until
from trunkline.settings import WorkerSection
from trunkline.stream import Mark, Membership, Place, Stream
from trunkline.worker.circuits import DEAD_LETTERS, CircuitPolicy, Circuits
from trunkline.worker.committer import Committer
from trunkline.worker.deferral import Sleepers, Tiers
from trunkline.worker.endings import Endings, described
from trunkline.worker.holdings import Holding, Holdings
from trunkline.worker.letterbox import Letterbox
from trunkline.worker.lines import Lines
from trunkline.worker.processor import Processor
from trunkline.worker.pulse import Facts, Pulse
from trunkline.worker.retries import RetryPolicy
from trunkline.worker.runs import Runs
from trunkline.worker.survey import Survey
from trunkline.worker.tally import Account, Tally

_log = logging.getLogger("trunkline.worker")

_HELD_WAIT_SECONDS = 0.01  # while something is held back, look often whether it still is
_LEAVE_SECONDS = 5.0
_REJOIN_FIRST_SECONDS = 0.2


class Worker:
    """Runs one processor on a stream as one member of its group. To be run once."""

    def __init__(
        self,
        processor: Processor,
        stream: Stream,
        limits: WorkerSection,
        clock: Clock,
        metrics: Metrics,
        *,
        dead_topic: str,
        tiers: Tiers | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.processor = processor
        self.heart = Heart(clock)
        self._stream = stream
        self._limits = limits
        self._clock = clock
        self._chance = chance
        self._tally = Tally(metrics, processor.name)
        self._pulse = Pulse(clock.monotonic())
        lines = Lines()
        sleepers = Sleepers(tiers, processor.name) if tiers and processor.defers else None
        self._topics = [*processor.topics, *(sleepers.tiers.topics if sleepers else ())]
        self._holdings = Holdings(limits, lines, processor.line, sleepers)
        self._committer = Committer(self._holdings, limits, self._fenced)
        self._letterbox = Letterbox(stream, clock, processor.name, dead_topic, sleepers)
        policy = RetryPolicy(
            attempts_max=limits.retry_attempts_max,
            seconds_max=limits.retry_seconds_max,
            first_seconds=limits.retry_first_seconds,
            most_seconds=limits.retry_most_seconds,
        )
        self._circuits = Circuits(CircuitPolicy.of(limits), self._circuit_changed)
        self._tally.circuit(DEAD_LETTERS)
        endings = Endings(
            self._holdings,
            self._letterbox,
            policy,
            self._tally,
            clock,
            chance,
            self._settled,
            self._circuits,
        )
        self._runs = Runs(
            processor,
            lines,
            endings,
            self._tally,
            clock,
            self._circuits,
            defers=sleepers is not None,
        )
        self._survey = Survey(
            self._holdings, self._tally, self._pulse, stream, limits, clock, self._circuits
        )
        self._stopping = False
        self._let_go_at: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until asked to stop. Raises GroupTaken; else only what is a bug, as a group."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._runs.work(), name=f"{self.processor.name} {number}")
                for number in range(self._limits.concurrency)
            ]
            tasks.append(group.create_task(self._committer.run(), name="committer"))
            tasks.append(group.create_task(self._survey.run(), name="survey"))
            tasks.append(group.create_task(self._survey.run_lag(), name="lag"))
            tasks.append(group.create_task(self.heart.beat(), name="heart"))
            try:
                problem = await self._consume(stop)
            finally:
                for task in tasks:
                    task.cancel()
        await self._letterbox.close(_LEAVE_SECONDS)
        self._survey.look()
        if problem is not None:
            raise problem

    @property
    def account(self) -> Account:
        holdings = self._holdings
        return self._tally.account(holdings.delivered, holdings.in_flight, holdings.abandoned)

    def facts(self) -> Facts:
        now = self._clock.monotonic()
        return Facts(
            fetch_age=self._pulse.fetch_age(now),
            running_age=max((now - run.started_at for run in self._runs.running), default=0.0),
            still=self._pulse.still(now),
            loop_lag=self.heart.lag_seconds,
            in_flight=self._holdings.in_flight,
            lag_events=self._survey.lag_events,
        )

    def healthy(self) -> bool:
        """False only if there is work and for long nothing was taken in or settled."""
        return self._pulse.still(self._clock.monotonic()) <= self._limits.stall_seconds

    def resume(self) -> None:
        """By an operator: go on although so much died."""
        self._circuits.resume()
        self._runs.wake()

    # What the stream tells us.

    def assigned(self, marks: Mapping[Place, Mark]) -> None:
        self._give_up([self._holdings.places[it] for it in marks if it in self._holdings.places])
        for holding in self._holdings.assign(marks):
            if holding.tracker.note_problem is not None:
                self._tally.note_ignored()
                _log.warning(
                    "the note of %s/%d is not used, what it calls settled is done again: %s",
                    *holding.place,
                    holding.tracker.note_problem,
                )
        if self._stopping:
            self._holdings.stop(list(marks))
        now = self._clock.monotonic()
        self._tally.rebalanced(None if self._let_go_at is None else now - self._let_go_at)
        self._let_go_at = None
        _log.info("%s has %d partitions", self.processor.name, len(self._holdings.places))

    async def revoked(self, places: Collection[Place]) -> None:
        self._letting_go()
        await self._hand_over(places, self._limits.revoke_seconds)

    def lost(self, places: Collection[Place]) -> None:
        self._letting_go()
        found = self._holdings.stop(places)
        if found:
            _log.warning("%s lost %d partitions", self.processor.name, len(found))
        self._give_up(found)

    # Its life.

    async def _consume(self, stop: asyncio.Event) -> GroupTaken | None:
        failures = 0
        while not stop.is_set():
            try:
                membership = await self._join(stop)
                if membership is not None:
                    fetched = await self._belong(membership, stop)
                    failures = 0 if fetched else failures + 1
            except GroupTaken as error:
                return error
            except StreamUnavailable as error:
                failures += 1
                _log.warning("%s cannot join its group: %s", self.processor.name, error)
            if not stop.is_set():
                most = self._limits.rejoin_most_seconds
                wait = backoff(failures, _REJOIN_FIRST_SECONDS, most, self._chance())
                await until(stop, wait)
        return None

    async def _join(self, stop: asyncio.Event) -> Membership | None:
        """None if asked to stop meanwhile."""
        joining = asyncio.ensure_future(self._stream.join(self._topics, self.processor.name, self))
        stopping = asyncio.ensure_future(stop.wait())
        joined = None
        try:
            await asyncio.wait({joining, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if joining.done():
                joined = joining.result()
            return joined
        finally:
            for task in (joining, stopping):
                if not task.done():
                    task.cancel()
                    await asyncio.wait({task})
            if joined is None and not joining.cancelled() and joining.exception() is None:
                await joining.result().close()  # it came too late for anybody to use it

    async def _belong(self, membership: Membership, stop: asyncio.Event) -> bool:
        """From joining to leaving; whether anything at all came of it."""
        self._committer.membership = membership
        before = self._pulse.fetches
        fetching = asyncio.create_task(self._fetch(membership, stop), name="fetch")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({fetching, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                self._stopping = True
                _log.info("%s is draining", self.processor.name, extra=self._in_hand())
                await self._hand_over(list(self._holdings.places), self._limits.drain_seconds)
        finally:
            self._stopping = True
            stopping.cancel()
            await self._leave(membership, fetching)
            self._stopping = False
        if fetching.done() and not fetching.cancelled():
            try:
                fetching.result()
            except StreamUnavailable as error:
                _log.warning("%s has to join again: %s", self.processor.name, error)
        return self._pulse.fetches > before

    async def _leave(self, membership: Membership, fetching: "asyncio.Task[None]") -> None:
        """Whatever brought us here, what was settled is committed, and no fetch is cancelled."""
        places = self._holdings.stop(list(self._holdings.places))
        await self._committer.commit(places)
        self._give_up(places)
        await asyncio.wait({fetching}, timeout=_LEAVE_SECONDS)
        self._committer.membership = None
        await membership.close()
        await asyncio.wait({fetching}, timeout=_LEAVE_SECONDS)
        fetching.cancel()  # nothing, if it has ended, as it should
        self._give_up(list(self._holdings.places.values()))

    async def _fetch(self, membership: Membership, stop: asyncio.Event) -> None:
        limits, holdings, clock = self._limits, self._holdings, self._clock
        while not (stop.is_set() or self._stopping):
            held = holdings.held()
            wait = _HELD_WAIT_SECONDS if held else limits.fetch_wait_seconds
            found = await membership.fetch(limits.fetch_records_max, wait, held)
            now = clock.monotonic()
            self._pulse.fetched(now, something=bool(found))
            if not self._stopping:
                # In the same step as the fetch's return: what is fetched is never unaccounted for.
                holdings.admit(found, now, clock.now())
                self._runs.wake()
            # A fetch that finds everything at once never waits; others live on this loop, too.
            await asyncio.sleep(0)

    async def _hand_over(self, places: Collection[Place], seconds: float) -> None:
        """Begin nothing more, wait for what runs, commit, let go."""
        holdings = self._holdings.stop(places)
        epochs = {holding.lane.epoch for holding in holdings}
        for run in await self._runs.ended(epochs, seconds):
            age = round(self._clock.monotonic() - run.started_at, 1)
            _log.warning(
                "still running, and given up after %.1f s of waiting",
                seconds,
                extra=described(run.works[0]) | {"age_seconds": age},
            )
        await self._committer.commit(holdings)
        self._give_up(holdings)

    def _give_up(self, holdings: Collection[Holding]) -> None:
        self._holdings.drop(holdings)
        self._runs.give_up({holding.lane.epoch for holding in holdings})

    def _fenced(self, holding: Holding) -> None:
        self._give_up([holding])

    def _settled(self) -> None:
        self._pulse.settled(self._clock.monotonic())
        self._committer.settled()

    def _circuit_changed(self, name: str, opened: bool) -> None:  # noqa: FBT001  # a callback
        self._tally.circuit(name, opened=opened)
        state, level = ("opened", logging.ERROR) if opened else ("closed", logging.INFO)
        _log.log(level, "%s: the circuit %s has %s", self.processor.name, name, state)

    def _letting_go(self) -> None:
        if self._let_go_at is None:
            self._let_go_at = self._clock.monotonic()

    def _in_hand(self) -> dict[str, object]:
        return {"running": len(self._runs.running), "waiting": self._holdings.in_flight}
