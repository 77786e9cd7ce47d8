"""Reads the embedded stream lane by lane, fairly, from positions of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from trunkline.stream import Delivery, Place
from trunkline.stream.sqlite_schema import Connection, ends_of, read

# One fetch holds at most this and one record more in memory.
FETCH_BYTES_MAX = 8_388_608

Job = Callable[[Connection], Any]


class SqliteSubscription:
    def __init__(
        self,
        lanes: Mapping[Place, int],
        positions: Mapping[int, int],
        reading: Callable[[Job], Awaitable[Any]],
        closing: Callable[["SqliteSubscription"], None],
        poll_seconds: float,
    ) -> None:
        self._lanes = dict(lanes)
        self._places = {lane: place for place, lane in lanes.items()}
        self._positions = dict(positions)
        self._reading = reading
        self._closing = closing
        self._poll_seconds = poll_seconds
        self._seen: object = None
        self._turn = 0
        self.arrived = asyncio.Event()

    async def fetch(
        self, records_max: int, wait_seconds: float, held: Collection[Place] = ()
    ) -> list[Delivery]:
        """Of held places nothing is read, and their position stays."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        lanes = frozenset(self._lanes[place] for place in held if place in self._lanes)
        while True:
            # Before looking, so that what arrives while we look makes us look again.
            self.arrived.clear()
            found: list[Delivery] = await self._reading(lambda c: self._look(c, records_max, lanes))
            left = deadline - loop.time()
            if found or left <= 0:
                break
            try:
                async with asyncio.timeout(min(left, self._poll_seconds)):
                    await self.arrived.wait()
            except TimeoutError:
                continue  # another process may have written without waking us
        for delivery in found:
            self._positions[self._lanes[delivery.topic, delivery.partition]] = delivery.offset + 1
        return found

    def _look(
        self, connection: Connection, records_max: int, held: frozenset[int]
    ) -> list[Delivery]:
        # With the connection itself, because a reopened one counts from anywhere.
        version = connection, connection.execute("PRAGMA data_version").fetchone(), held
        if version == self._seen:
            return []
        spans = self._news(ends_of(connection), held)
        found: list[Delivery] = []
        size = 0
        for number, (lane, span) in enumerate(spans):
            share = max(1, (records_max - len(found)) // (len(spans) - number))
            part = read(connection, self._places[lane], lane, span[:share], FETCH_BYTES_MAX - size)
            found += part
            size += sum(len(delivery.value or b"") for delivery in part)
            if len(found) >= records_max or size >= FETCH_BYTES_MAX:
                break
        if not found:
            self._seen = version
        return found

    def _news(
        self, ends: Mapping[int, tuple[int, int]], held: frozenset[int]
    ) -> list[tuple[int, range]]:
        """Unread offsets per lane, beginning with another lane each time."""
        spans = []
        for lane, position in self._positions.items():
            first, following = ends[lane]
            span = range(max(position, first), following)
            if span and lane not in held:
                spans.append((lane, span))
        self._turn = (self._turn + 1) % max(1, len(spans))
        return spans[self._turn :] + spans[: self._turn]

    async def close(self) -> None:
        self._closing(self)
