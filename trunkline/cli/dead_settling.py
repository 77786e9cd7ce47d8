"""Replays and drops dead letters: the effect first, then the note of it behind the letter."""

import asyncio
import sys
from collections.abc import Iterator, Sequence

from trunkline.cli.dead_letters import (
    DROPPED,
    REPLAYED,
    Found,
    obstacle,
    replay,
    settlement,
)
from trunkline.cli.dead_lines import safe_json
from trunkline.cli.progress import Progress
from trunkline.clock import SystemClock
from trunkline.errors import StreamError, StreamUnavailable, TopicMissing
from trunkline.stream import Record, Stream

# So many are replayed twice, under their old ids, if we are killed between effect and note.
_BATCH = 50
_APPEND_SECONDS = 30.0


class Settling:
    def __init__(self, stream: Stream, topic: str, *, as_json: bool) -> None:
        self._stream = stream
        self._topic = topic
        self._as_json = as_json
        self._settled = 0
        self._failed = 0

    async def replay(self, chosen: Sequence[Found]) -> None:
        possible = []
        for found in chosen:
            why_not = obstacle(found.letter)
            if why_not is None:
                possible.append(found)
            else:
                self._fail(found, f"cannot be replayed: {why_not}")
        with Progress("replaying", len(possible)) as progress:
            for batch in _batches(possible):
                now = SystemClock.now()
                results = await self._append([replay(found, now) for found in batch])
                landed = []
                for found, result in zip(batch, results, strict=True):
                    if result is None:
                        landed.append(found)
                    else:
                        self._fail(found, f"not replayed: {result}")
                await self._note(landed, REPLAYED)
                progress.advance(len(batch))
                _stop_if_unavailable(results)

    async def drop(self, chosen: Sequence[Found]) -> None:
        with Progress("dropping", len(chosen)) as progress:
            for batch in _batches(chosen):
                await self._note(batch, DROPPED)
                progress.advance(len(batch))

    def report(self) -> int:
        failed = f", {self._failed} failed" if self._failed else ""
        print(f"{self._settled} settled{failed}", file=sys.stderr)
        return 1 if self._failed else 0

    async def _note(self, batch: Sequence[Found], how: str) -> None:
        now = SystemClock.now()
        results = await self._append([settlement(it, how, self._topic, now) for it in batch])
        for found, result in zip(batch, results, strict=True):
            if result is not None:
                done = "it was replayed, but this" if how == REPLAYED else "this"
                self._fail(found, f"{done} could not be noted, so it stays open: {result}")
                continue
            self._settled += 1
            position = str(found.position)
            said = {"position": position, "state": how, "topic": found.letter.topic}
            print(safe_json(said) if self._as_json else f"{position} {how}")
        sys.stdout.flush()
        _stop_if_unavailable(results)

    async def _append(self, records: Sequence[Record]) -> list[StreamError | None]:
        """Never cancelled; past our patience nobody knows whether the records land."""
        if not records:
            return []
        append = asyncio.ensure_future(self._stream.append(records))
        await asyncio.wait({append}, timeout=_APPEND_SECONDS)
        if not append.done():
            late = StreamUnavailable(f"no answer in {_APPEND_SECONDS:.0f} s; it may still land")
            return [late] * len(records)
        return append.result()

    def _fail(self, found: Found, why: str) -> None:
        self._failed += 1
        print(f"{found.position}: {why}", file=sys.stderr)


def _batches(letters: Sequence[Found]) -> Iterator[Sequence[Found]]:
    for at in range(0, len(letters), _BATCH):
        yield letters[at : at + _BATCH]


def _stop_if_unavailable(results: Sequence[StreamError | None]) -> None:
    """A topic that is missing stops its own letters alone."""
    for result in results:
        if isinstance(result, StreamUnavailable) and not isinstance(result, TopicMissing):
            raise result
