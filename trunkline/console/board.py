"""Looks at the running parts once a second: the log line and the page show what it saw."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from ingest.app import Ingest
from trunkline.clock import Clock
from trunkline.console.history import History, sample
from trunkline.console.newest import Newest
from trunkline.console.state import Addresses, StreamFacts, build
from trunkline.errors import StreamError
from trunkline.service import until
from trunkline.stream import Stream
from trunkline.traffic.sender import Sender

_log = logging.getLogger("trunkline.up")
_LOOK_SECONDS = 1.0


class Board:
    """`path` is the embedded stream's file, `where` what to call the stream."""

    def __init__(
        self,
        ingest: Ingest,
        stream: Stream,
        topics: Sequence[str],
        where: str,
        path: Path | None,
        clock: Clock,
    ) -> None:
        self._ingest = ingest
        self._stream = stream
        self._topics = tuple(topics)
        self._path = path
        self._clock = clock
        self._started_at = clock.now()
        self._facts = StreamFacts(where)
        self._history = History(sample(ingest.metrics, clock.monotonic()))
        self.newest = Newest(stream, topics)
        self.addresses = Addresses("", None)
        self.sender: Sender | None = None

    async def watch(self, stop: asyncio.Event, *, quiet: bool) -> None:
        await self._ask_stream()
        due = self._clock.monotonic() + _LOOK_SECONDS
        while not await until(stop, max(0.0, due - self._clock.monotonic())):
            due = max(due + _LOOK_SECONDS, self._clock.monotonic())
            await self.look(quiet=quiet)

    async def look(self, *, quiet: bool) -> None:
        self._history.add(sample(self._ingest.metrics, self._clock.monotonic()))
        await self._ask_stream()
        if not quiet:
            _log.info("webhooks", extra=self._line())

    def state(self) -> dict[str, object]:
        return build(
            now=self._clock.now(),
            started_at=self._started_at,
            problem=self._ingest.health.problem,
            history=self._history,
            stream=self._facts,
            events=self.newest.events,
            events_problem=self.newest.problem,
            sent=None if self.sender is None else self.sender.sent,
            addresses=self.addresses,
        )

    def _line(self) -> dict[str, object]:
        verdicts = self._history.newest.verdicts
        return {
            "received": self._history.newest.received,
            **{name: verdicts[name] for name in verdicts if name != "gone"},
            "per_second": round(self._history.per_second(seconds=1), 1),
            "p50_ms": self._history.quantile_ms(0.5),
            "p99_ms": self._history.quantile_ms(0.99),
            "stored": self._facts.stored,
        }

    async def _ask_stream(self) -> None:
        facts = self._facts
        try:
            ends = await self._stream.ends(self._topics)
        except StreamError as error:
            # What was known stays shown, beside why nothing newer is.
            self._facts = StreamFacts(facts.where, facts.ends, facts.size_bytes, str(error))
        else:
            size = None if self._path is None else _size_bytes(self._path)
            self._facts = StreamFacts(facts.where, ends, size)


def _size_bytes(path: Path) -> int | None:
    """The file and its log: both are the stream."""
    sizes = []
    for part in (path, path.with_name(path.name + "-wal")):
        try:
            sizes.append(part.stat().st_size)
        except OSError:
            continue
    return sum(sizes) if sizes else None
