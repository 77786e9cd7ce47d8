"""Publishes to the lake: what one set of files holds is agreed in a log before any is written.

The log of a place is a row of numbered objects, `lake/_cuts/{topic}-{partition}/{sequence}.json`,
each put only if absent. Who puts number n has read all before it, so whatever a zombie does or a
tool resets, no two cuts ever share a record, and every publisher of a cut knows where it ends.
"""

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import orjson

from sinks.store import Store, StoreUnavailable
from trunkline.stream import Delivery, Place

_start_of = attrgetter("start")
_offset_of = attrgetter("offset")


@dataclass(frozen=True, slots=True)
class Cut:
    """Offsets that are published together.

    Below: the highest end of all cuts before it. Start_ms: when its first record was appended.
    """

    sequence: int
    start: int
    end: int
    below: int
    start_ms: int

    def __contains__(self, offset: object) -> bool:
        return isinstance(offset, int) and self.start <= offset <= self.end

    @property
    def high(self) -> int:
        return max(self.below, self.end)


_NONE = Cut(sequence=-1, start=-1, end=-1, below=-1, start_ms=-1)  # what an empty log ends with


class Lake:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._logs: dict[Place, _Log] = {}
        self._turns: defaultdict[Place, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def agree(self, deliveries: Sequence[Delivery]) -> Cut:
        """The cut that holds the first of these, which are of one place and in its order.

        Somebody may have cut here before: it then ends where they said, which may be beyond the
        last of these.
        """
        place = (deliveries[0].topic, deliveries[0].partition)
        async with self._turns[place]:
            log = self._logs.get(place)
            if log is None:
                log = _Log(self._store, place)
                await log.load()
                self._logs[place] = log
            return await log.agree(deliveries)

    async def write(self, files: Mapping[str, bytes]) -> int:
        """Durably, each unless it is there; how many were not."""
        puts = [self._store.put_absent(name, data) for name, data in files.items()]
        # All are heard before one's failure is told: nothing of ours runs on behind a Retry.
        results = await asyncio.gather(*puts, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return sum(results)  # type: ignore[arg-type]  # only bools are left


class _Log:
    """What is known of one place's cuts: all from some sequence up to the newest we know.

    The objects never change, so what is known stays true; others may have put more since.
    """

    def __init__(self, store: Store, place: Place) -> None:
        self._store = store
        self._topic, self._partition = place
        self._folder = f"lake/_cuts/{self._topic}-{self._partition}"
        self._newest = _NONE
        self._oldest = _NONE
        self._cuts: list[Cut] = []  # from oldest to newest known, by start

    async def load(self) -> None:
        names = [name.partition(".")[0] for name in await self._store.names(self._folder)]
        sequence = max((int(name) for name in names if name.isdecimal()), default=None)
        if sequence is not None:
            newest = await self._read(sequence)
            # A put that finds it there makes sure that it will still be there tomorrow.
            await self._store.put_absent(self._name(sequence), self._dump(newest))
            self._newest = self._oldest = newest
            self._cuts = [newest]

    async def agree(self, deliveries: Sequence[Delivery]) -> Cut:
        first = deliveries[0]
        start = first.offset
        while True:
            await self._know_down_to(start)
            position = bisect_right(self._cuts, start, key=_start_of)
            if position and start in self._cuts[position - 1]:
                return self._same_stream(self._cuts[position - 1], first)
            last = deliveries[-1].offset
            if position < len(self._cuts):  # an earlier publication lies ahead: stop short of it
                ahead = bisect_left(deliveries, self._cuts[position].start, key=_offset_of)
                last = deliveries[ahead - 1].offset
            newest = self._newest
            cut = Cut(newest.sequence + 1, start, last, newest.high, first.timestamp_ms)
            if await self._store.put_absent(self._name(cut.sequence), self._dump(cut)):
                self._add(cut)
                return cut
            self._add(await self._read(cut.sequence))

    def _same_stream(self, cut: Cut, first: Delivery) -> Cut:
        """A stream made anew begins at 0 again: its events must not pass for published ones."""
        if cut.start == first.offset and cut.start_ms != first.timestamp_ms:
            raise StoreUnavailable(
                f"store: {self._name(cut.sequence)} is of another stream, whose record at offset "
                f"{cut.start} was another; give this stream a store of its own"
            )
        return cut

    async def _know_down_to(self, offset: int) -> None:
        """Until no cut that is not known can hold this offset or one above it."""
        while self._oldest.below >= offset:
            older = await self._find(self._oldest.sequence - 1)
            if older is None:
                return  # what was removed for its age is of records the stream has forgotten too
            insort(self._cuts, older, key=_start_of)
            self._oldest = older

    def _add(self, cut: Cut) -> None:
        if cut.start > self._newest.high:
            # The usual case: those before need not be kept in memory, they can be read again.
            self._cuts, self._oldest = [cut], cut
        else:
            insort(self._cuts, cut, key=_start_of)
        self._newest = cut

    def _name(self, sequence: int) -> str:
        return f"{self._folder}/{sequence:012d}.json"

    def _dump(self, cut: Cut) -> bytes:
        return orjson.dumps(
            {
                "topic": self._topic,
                "partition": self._partition,
                "start": cut.start,
                "end": cut.end,
                "below": cut.below,
                "start_ms": cut.start_ms,
            }
        )

    async def _read(self, sequence: int) -> Cut:
        cut = await self._find(sequence)
        if cut is None:
            raise StoreUnavailable(f"store: {self._name(sequence)} has vanished")
        return cut

    async def _find(self, sequence: int) -> Cut | None:
        data = await self._store.read(self._name(sequence))
        if data is None:
            return None
        try:
            fields = orjson.loads(data)
            names = ("start", "end", "below", "start_ms")
            return Cut(sequence, *(int(fields[name]) for name in names))
        except (ValueError, LookupError, TypeError):
            # To go on without it might publish twice.
            raise StoreUnavailable(f"store: {self._name(sequence)} is not a cut") from None
