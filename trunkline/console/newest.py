"""Follows the stream without a group and remembers its newest events: what is durable."""

import asyncio
from collections import deque
from collections.abc import Sequence

from trunkline.console.summary import Summary, summarise
from trunkline.envelope import Envelope
from trunkline.errors import StreamError
from trunkline.service import until
from trunkline.stream import Start, Stream, Subscription

_KEPT = 30
_FETCH_RECORDS_MAX = 256
_FETCH_SECONDS = 0.5
_AGAIN_SECONDS = 1.0


class Newest:
    def __init__(self, stream: Stream, topics: Sequence[str]) -> None:
        self._stream = stream
        self._topics = topics
        self._events: deque[Summary] = deque(maxlen=_KEPT)
        self._subscription: Subscription | None = None
        self.problem: str | None = None

    @property
    def events(self) -> list[Summary]:
        """Newest first."""
        return list(reversed(self._events))

    async def open(self) -> None:
        """From now on nothing is missed; follow() does this too, when it gets there."""
        self._subscription = await self._stream.subscribe(self._topics, Start.LATEST)

    async def follow(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                if self._subscription is None:
                    await self.open()
                await self._read(stop)
            except StreamError as error:
                self.problem = str(error)
                await self._close()
                await until(stop, _AGAIN_SECONDS)
        await self._close()

    async def _close(self) -> None:
        if self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            await subscription.close()

    async def _read(self, stop: asyncio.Event) -> None:
        assert self._subscription is not None
        while not stop.is_set():
            deliveries = await self._subscription.fetch(_FETCH_RECORDS_MAX, _FETCH_SECONDS)
            self.problem = None
            # One fetch goes partition by partition; a person reads by time.
            deliveries.sort(key=lambda delivery: delivery.timestamp_ms)
            for delivery in deliveries[-_KEPT:]:
                self._events.append(summarise(Envelope.of(delivery)))
