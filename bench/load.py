"""Sends webhooks over many connections, in a closed loop or on a schedule, and times the answers.

On a schedule (open loop) latency counts from the moment a webhook was due, so a door that stalls
pays for everything it delays.
"""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

_now = time.monotonic
_GIVE_UP_SECONDS = 10.0
HOST = "127.0.0.1"


@dataclass(slots=True)
class Run:
    """What came back; latencies in seconds, one per answer."""

    seconds: float = 0.0
    answers: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)  # of the sender itself, open loop only

    @property
    def total(self) -> int:
        return self.answers.total()

    def per_second(self, status: int = 200) -> float:
        return self.answers[status] / self.seconds

    def quantile(self, share: float) -> float:
        found = sorted(self.latencies)
        return found[min(len(found) - 1, int(share * len(found)))]


class Line(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    __slots__ = ("_buffer", "_crowd", "due", "transport")

    def __init__(self, crowd: "Crowd") -> None:
        self._crowd = crowd
        self._buffer = b""
        self.due = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's are asyncio's but in class

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        status = self._crowd.known.get(data) or self._crowd.read(data)
        if status:
            self._buffer = b""
            self._crowd.answered(self, status)
        else:
            self._buffer = data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.transport = None
        self._crowd.lost(self)


class Crowd:
    """Connections to one door. Run it once at a time; it ends by itself."""

    def __init__(self, port: int, connections: int) -> None:
        self._port = port
        self._connections = connections
        self._idle: deque[Line] = deque()  # taken in turn, so that all connections are used
        self._busy: set[Line] = set()
        self._due: deque[tuple[float, bytes]] = deque()
        self._wires: Iterator[bytes] = iter(())
        self._run = Run()
        self._ends = 0.0
        self._closed_loop = False
        self.known: dict[bytes, int] = {}  # whole answers seen before: a parser would cost more

    async def connect(self) -> None:
        for _ in range(self._connections):
            self._idle.append(await self._reach_out())

    async def _reach_out(self) -> Line:
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: Line(self), HOST, self._port)
        return line

    async def closed(self, wires: Iterator[bytes], window: int, seconds: float) -> Run:
        """Keep so many requests under way for so long, or while there are webhooks."""
        self._begin(wires, closed_loop=True)
        started = _now()
        self._ends = started + seconds
        for _ in range(min(window, len(self._idle))):
            self._next()
        return await self._finish(started)

    async def scheduled(self, wires: Iterator[bytes], rate: float, seconds: float) -> Run:
        """Send at this rate with random gaps, whether or not the door keeps up."""
        self._begin(wires, closed_loop=False)
        gaps = random.Random(1)  # noqa: S311  # a seeded load, not a secret
        started = due = _now()
        while due < started + seconds:
            due += gaps.expovariate(rate)
            if (wait := due - _now()) > 0:
                await asyncio.sleep(wait)
            if (wire := next(self._wires, None)) is None:
                break
            self._due.append((due, wire))
            self._serve()
        return await self._finish(started)

    async def close(self) -> None:
        for line in (*self._idle, *self._busy):
            if line.transport is not None:
                line.transport.abort()
        self._idle.clear()
        await asyncio.sleep(0)

    def _begin(self, wires: Iterator[bytes], *, closed_loop: bool) -> None:
        self._wires, self._closed_loop, self._run = wires, closed_loop, Run()

    async def _finish(self, started: float) -> Run:
        limit = max(self._ends, _now()) + _GIVE_UP_SECONDS
        while (self._busy or self._due) and _now() < limit:  # noqa: ASYNC110  # bounded, no event
            await asyncio.sleep(0.002)
        self._run.seconds = _now() - started
        return self._run

    def _next(self) -> None:
        if _now() < self._ends and self._idle and (wire := next(self._wires, None)):
            self._fire(_now(), wire)

    def _serve(self) -> None:
        while self._due and self._idle:
            self._fire(*self._due.popleft())

    def _fire(self, due: float, wire: bytes) -> None:
        line = self._idle.popleft()
        line.due = due
        self._busy.add(line)
        assert line.transport is not None
        line.transport.write(wire)
        if not self._closed_loop:
            self._run.lateness.append(_now() - due)

    def read(self, data: bytes) -> int:
        """The status of a whole answer, remembered; 0 while part of it is missing."""
        head, separator, rest = data.lower().partition(b"\r\n\r\n")
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if not separator or len(rest) < length:
            return 0
        if b"date:" not in head:
            self.known[data] = int(head[9:12])
        return int(head[9:12])

    def answered(self, line: Line, status: int) -> None:
        self._run.answers[status] += 1
        self._run.latencies.append(_now() - line.due)
        self._busy.discard(line)
        self._idle.append(line)
        if self._closed_loop:
            self._next()
        elif self._due:
            self._serve()

    def lost(self, line: Line) -> None:
        if line in self._busy:
            self._busy.discard(line)
            self._run.answers[0] += 1
        elif line in self._idle:
            self._idle.remove(line)
