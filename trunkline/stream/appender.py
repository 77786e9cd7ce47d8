"""Group commit: single records in, one append per lane at a time out, each answered in time."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from trunkline.clock import Clock
from trunkline.errors import StreamError, StreamUnavailable
from trunkline.stream import Record, Stream

_log = logging.getLogger("trunkline.stream")

Done = Callable[[StreamError | None], None]

FULL = StreamUnavailable("too many bytes wait for the stream")
LATE = StreamUnavailable("the stream did not take the record in time")
STUCK = StreamUnavailable("the stream has not answered for longer than a record may wait")
CLOSED = StreamUnavailable("shutting down")
_TICK_SECONDS = 0.02


@dataclass(slots=True)
class _Entry:
    record: Record
    size_bytes: int
    deadline: float
    done: Done | None


@dataclass(slots=True)
class _Lane:
    waiting: deque[_Entry] = field(default_factory=deque)
    flying: list[_Entry] = field(default_factory=list)
    flying_since: float = 0.0


class Appender:
    """One flush a lane is under way at any time; what arrives meanwhile is the next flush.

    So batches grow by themselves with load and with the stream's slowness, an idle stream adds no
    wait, and a stream that hangs holds at most one flush a lane.
    """

    def __init__(
        self,
        stream: Stream,
        clock: Clock,
        *,
        wait_seconds: float,
        bytes_max: int,
        flush_records_max: int,
        flush_bytes_max: int,
        flush_interval_seconds: float = 0.0,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._bytes_max = bytes_max
        self._flush_records_max = flush_records_max
        self._flush_bytes_max = flush_bytes_max
        self._flush_interval_seconds = flush_interval_seconds
        self._lanes: dict[int, _Lane] = {}
        self._flushes: set[asyncio.Task[None]] = set()
        self._closed = False
        self._ticking: asyncio.TimerHandle | None = None
        self.bytes_held = 0
        self.failure: StreamError | None = None  # of the newest flush; None after a good one

    def offer(self, record: Record, done: Done) -> None:
        """Call done exactly once: None when the record is durable, else why not.

        A record that failed by lateness may still land.
        """
        size = record.size_bytes
        number = self._stream.lane(record)
        lane = self._lanes.get(number) or self._lanes.setdefault(number, _Lane())
        now = self._clock.monotonic()
        if self._closed:
            done(CLOSED)
        elif self.bytes_held + size > self._bytes_max:
            done(FULL)
        elif lane.flying and now - lane.flying_since > self._wait_seconds:
            done(STUCK)
        else:
            self.bytes_held += size
            lane.waiting.append(_Entry(record, size, now + self._wait_seconds, done))
            if not lane.flying and len(lane.waiting) == 1:
                self._flush_soon(lane, now)
            if self._ticking is None:
                self._tick()

    @property
    def stuck_seconds(self) -> float:
        """How long the oldest flush has been under way."""
        now = self._clock.monotonic()
        ages = (now - lane.flying_since for lane in self._lanes.values() if lane.flying)
        return max(ages, default=0.0)

    async def close(self, seconds: float) -> None:
        """Take nothing more, wait for what is under way, answer the rest as unavailable."""
        self._closed = True
        deadline = self._clock.monotonic() + seconds
        while self._flushes and (left := deadline - self._clock.monotonic()) > 0:
            await asyncio.wait(self._flushes, timeout=left)
        for lane in self._lanes.values():
            for entry in lane.waiting:
                self.bytes_held -= entry.size_bytes
            for entry in (*lane.flying, *lane.waiting):
                _answer(entry, CLOSED)
            lane.waiting.clear()
        if self._ticking is not None:
            self._ticking.cancel()

    def _flush_soon(self, lane: _Lane, now: float) -> None:
        loop = asyncio.get_running_loop()
        wait = lane.flying_since + self._flush_interval_seconds - now
        if wait > 0:
            loop.call_later(wait, self._flush, lane)
        else:
            # Not at once: what the loop has already received joins the same flush.
            loop.call_soon(self._flush, lane)

    def _flush(self, lane: _Lane) -> None:
        if lane.flying or not lane.waiting:
            return
        size = 0
        while lane.waiting and len(lane.flying) < self._flush_records_max:
            size += lane.waiting[0].size_bytes
            if lane.flying and size > self._flush_bytes_max:
                break
            lane.flying.append(lane.waiting.popleft())
        lane.flying_since = self._clock.monotonic()
        flush = asyncio.get_running_loop().create_task(self._append(lane), name="flush")
        self._flushes.add(flush)
        flush.add_done_callback(self._flushes.discard)

    async def _append(self, lane: _Lane) -> None:
        entries = lane.flying
        try:
            results = await self._stream.append([entry.record for entry in entries])
        except StreamError as error:
            results = [error] * len(entries)
        except Exception as error:  # noqa: BLE001  # a bug in a stream must not leave its lane stuck for ever
            _log.exception("append failed unexpectedly")
            results = [StreamUnavailable(f"append failed: {error!r}")] * len(entries)
        lane.flying = []
        if lane.waiting:
            self._flush_soon(lane, self._clock.monotonic())
        self.failure = None
        for entry, result in zip(entries, results, strict=True):
            self.bytes_held -= entry.size_bytes
            if isinstance(result, StreamUnavailable):
                self.failure = result
            _answer(entry, result)

    def _tick(self) -> None:
        """Answer what has waited too long; runs only while something waits."""
        now = self._clock.monotonic()
        for lane in self._lanes.values():
            for entry in lane.flying:
                if entry.deadline <= now:
                    _answer(entry, LATE)
            while lane.waiting and lane.waiting[0].deadline <= now:
                entry = lane.waiting.popleft()
                self.bytes_held -= entry.size_bytes
                _answer(entry, LATE)
        if any(lane.flying or lane.waiting for lane in self._lanes.values()):
            self._ticking = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)
        else:
            self._ticking = None


def _answer(entry: _Entry, error: StreamError | None) -> None:
    if entry.done is not None:
        done, entry.done = entry.done, None
        try:
            done(error)
        except Exception:  # noqa: BLE001  # the others of the same flush still wait for theirs
            _log.exception("an answer could not be given")
