"""A processor that does to each event what the event's own value says."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from tests.simulation.virtual import Process
from tests.simulation.witness import Witness
from trunkline.outcome import Dead, Deferred, Done, Outcome, Retry, Skipped, Stale
from trunkline.stream import Delivery, Place
from trunkline.worker.processor import Line

# How long a fate takes, in its number; a hanging one's is great.
_SECONDS = {"sleep": 1.0, "stubborn": 4.0, "deaf": 4.0, "hang": 1.0}
DEADLY = ("dead", "raise", "lineless")


class Weary(BaseException):
    """What no handler should raise, and some will."""


class Fates:
    """A fate is a word and perhaps a number: `sleep 0.5`. Tries are counted over all processes."""

    def __init__(self) -> None:
        self.tries: Counter[tuple[Place, int]] = Counter()

    @staticmethod
    def of(delivery: Delivery) -> tuple[str, float]:
        word, _, number = (delivery.value or b"instant").decode().partition(" ")
        return word, float(number or 0)

    def failing(self, delivery: Delivery, times: float) -> bool:
        at = (delivery.topic, delivery.partition), delivery.offset
        self.tries[at] += 1
        return self.tries[at] <= times


class Simulated:
    """By key, or a whole partition in order and in batches."""

    name = "simulated"
    defers = True

    def __init__(
        self,
        topics: Sequence[str],
        process: Process,
        witness: Witness,
        fates: Fates,
        batch: int | None,
    ) -> None:
        self.topics = topics
        self._process = process
        self._witness = witness
        self._fates = fates
        self._batch = batch

    def line(self, delivery: Delivery) -> Line:
        if Fates.of(delivery)[0] == "lineless":
            raise ValueError("this one belongs nowhere")
        return self._line(delivery)

    def _line(self, delivery: Delivery) -> Line:
        key = b"" if self._batch else delivery.key or b""
        return delivery.topic, delivery.partition, key

    def take(self, waiting: Sequence[Delivery], now: float) -> int | float:
        if self._batch is None:
            two = waiting[0].offset % 2 and len(waiting) > 1 and Fates.of(waiting[1])[0] != "hang"
            return 2 if two else 1
        due = waiting[0].timestamp_ms / 1000 + 0.5
        ready = len(waiting) >= self._batch or now >= due
        return min(len(waiting), self._batch) if ready else due

    def circuit(self, delivery: Delivery) -> str | None:
        del delivery
        return None

    async def handle(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        witness, now = self._witness, self._process.loop.time()
        planned = now + sum(
            _SECONDS.get(word, 0.0) * number for word, number in map(Fates.of, deliveries)
        )
        line = self._line(deliveries[0])
        run = witness.begins(self._process, line, deliveries, planned)
        try:
            outcomes: list[Outcome] = []
            for it in deliveries:
                stuck = bool(outcomes) and isinstance(outcomes[-1], Retry)
                outcomes.append(Retry("behind another") if stuck else await self._one(it))
            witness.ends(self._process, run, outcomes)
            return outcomes
        finally:
            witness.left(self._process, run)

    async def _stubbornly(self, seconds: float, *, deaf: bool) -> None:
        """Cancelled, it goes on for a while; and then does as if nothing had been, if deaf."""
        try:
            await asyncio.sleep(4 * seconds)
        except asyncio.CancelledError:
            await asyncio.sleep(seconds)
            if not deaf:
                raise

    async def _one(self, delivery: Delivery) -> Outcome:  # noqa: C901, PLR0912  # a table
        word, number = Fates.of(delivery)
        match word:
            case "sleep":
                await asyncio.sleep(number)
            case "stubborn" | "deaf":
                await self._stubbornly(number, deaf=word == "deaf")
            case "hang":
                await asyncio.get_running_loop().create_future()
            case "retry":
                if self._fates.failing(delivery, number):
                    return Retry("not yet", 0.1 if number > 1 else None)
            case "defer":
                if self._fates.failing(delivery, 1):
                    return Deferred(self._process.clock.now() + number)
            case "weary":
                if self._fates.failing(delivery, 1):
                    self._witness.felled(self._process)
                    raise Weary
            case "flaky":
                await asyncio.sleep(0.01)
                if self._fates.failing(delivery, number):
                    raise OSError("not this time")
            case "raise":
                raise ValueError("never")
            case "dead":
                return Dead("poison")
            case "skip":
                return Skipped("nothing to do")
            case "stale":
                return Stale()
        return Done()
