"""Looks round every second: how far behind, how old, how much in hand; for gauges and the pulse."""

import asyncio
import logging

from trunkline.clock import Clock
from trunkline.errors import StreamError
from trunkline.settings import WorkerSection
from trunkline.stream import Stream
from trunkline.worker.circuits import Circuits
from trunkline.worker.holdings import Holdings
from trunkline.worker.pulse import Pulse
from trunkline.worker.tally import Tally

_log = logging.getLogger("trunkline.worker")

_LOOK_SECONDS = 1.0


class Survey:
    def __init__(
        self,
        holdings: Holdings,
        tally: Tally,
        pulse: Pulse,
        stream: Stream,
        limits: WorkerSection,
        clock: Clock,
        circuits: Circuits,
    ) -> None:
        self._holdings = holdings
        self._tally = tally
        self._pulse = pulse
        self._stream = stream
        self._limits = limits
        self._clock = clock
        self._circuits = circuits
        self._lag: dict[str, int] = {}

    @property
    def work_behind(self) -> bool:
        """What waits in a tier is nobody's work yet."""
        holdings = self._holdings
        return any(count for topic, count in self._lag.items() if not holdings.sleep_in(topic))

    @property
    def lag_events(self) -> int:
        return sum(self._lag.values())

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def run_lag(self) -> None:
        """Apart from looking: a stream that is away may keep us waiting for its ends."""
        while True:
            await self._measure_lag()
            await asyncio.sleep(self._limits.lag_interval_seconds)

    def look(self) -> None:
        holdings = self._holdings
        in_flight = holdings.in_flight
        # What has to wait for a store, or for an operator, does not stand still by our fault.
        work = (bool(in_flight) or self.work_behind) and not self._circuits.any_open
        self._pulse.look(self._clock.monotonic(), work=work)
        oldest = holdings.oldest_timestamp_ms()
        self._tally.show(
            self._tally.account(holdings.delivered, in_flight, holdings.abandoned),
            0.0 if oldest is None else max(0.0, self._clock.now() - oldest / 1_000),
            max((len(it.committed.note) for it in holdings.places.values()), default=0),
        )

    async def _measure_lag(self) -> None:
        topics = sorted({topic for topic, _ in self._holdings.places})
        try:
            ends = await self._stream.ends(topics) if topics else {}
        except StreamError as error:
            # What is not known must not count as work that nobody does.
            _log.debug("lag is not known: %s", error)
            self._lag = dict.fromkeys(self._lag, 0)
            return
        lag = dict.fromkeys((*self._lag, *topics), 0)
        for (topic, partition), (_, end) in ends.items():
            holding = self._holdings.places.get((topic, partition))
            if holding is not None:
                lag[topic] += max(0, end - holding.tracker.next_offset)
        self._lag = lag
        for topic, events in lag.items():
            self._tally.show_lag(topic, events)
