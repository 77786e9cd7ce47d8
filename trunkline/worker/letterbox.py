"""Posts letters, dead and deferred: an event is settled only when its letter is durable."""

import asyncio
import logging

from trunkline.clock import Clock
from trunkline.errors import RecordRefused, StreamError, StreamUnavailable
from trunkline.outcome import Dead, Deferred
from trunkline.stream import Record, Stream
from trunkline.worker import letters
from trunkline.worker.deferral import Sleepers
from trunkline.worker.lines import Work

_log = logging.getLogger("trunkline.worker")


class Letterbox:
    def __init__(
        self,
        stream: Stream,
        clock: Clock,
        processor: str,
        topic: str,
        sleepers: Sleepers | None = None,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._processor = processor
        self._topic = topic
        self._sleepers = sleepers
        self._under_way: set[asyncio.Task[list[StreamError | None]]] = set()

    async def post(self, work: Work) -> StreamError | None:
        """None when it is durable, else why not."""
        if isinstance(work.verdict, Deferred):
            return await self._append(self._deferral(work, work.verdict.until, 0))
        failure = await self._append(self._letter(work, letters.BYTES_MAX))
        if isinstance(failure, RecordRefused):
            # The dead topic takes less than we thought: what is cut down must do.
            failure = await self._append(self._letter(work, 0))
        return failure

    async def move_on(self, work: Work) -> StreamError | None:
        """From its tier to the next."""
        assert work.deferral is not None
        record = self._deferral(work, work.deferral.due, work.deferral.hops + 1)
        return await self._append(record)

    async def close(self, seconds: float) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)

    def _letter(self, work: Work, bytes_max: int) -> Record:
        assert isinstance(work.verdict, Dead)
        return letters.write(
            work.delivery,
            self._processor,
            work.verdict.reason,
            work.trouble,
            self._clock.now(),
            topic=self._topic,
            bytes_max=bytes_max,
        )

    def _deferral(self, work: Work, until: float, hops: int) -> Record:
        assert self._sleepers is not None
        return self._sleepers.write(work.delivery, until, hops, self._clock.now())

    async def _append(self, record: Record) -> StreamError | None:
        # An append is never cancelled: a run that is given up stops waiting for it.
        append = asyncio.ensure_future(self._stream.append([record]))
        self._under_way.add(append)
        append.add_done_callback(self._ended)
        try:
            (result,) = await asyncio.shield(append)
        except StreamError as error:
            return error
        except Exception as error:  # noqa: BLE001  # a bug in a stream must not lose the event
            _log.exception("a letter could not be appended")
            return StreamUnavailable(f"append failed: {error!r}")
        return result

    def _ended(self, append: "asyncio.Task[list[StreamError | None]]") -> None:
        self._under_way.discard(append)
        if not append.cancelled() and append.exception() is not None:
            _log.debug("an append of a letter failed", exc_info=append.exception())
