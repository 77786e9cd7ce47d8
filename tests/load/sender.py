"""An open-loop sender: webhooks leave on schedule whether or not the door keeps up.

Latency counts from the scheduled moment, so a door that stalls pays for everything it delays.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.load.webhooks import Shot

REFUSED, RESET, TIMEOUT = "refused", "reset", "timeout"
_TICK_SECONDS = 0.002
_RETRY_SECONDS = 0.05
_now = time.monotonic


@dataclass(slots=True)
class Sent:
    """What became of one webhook sent once. Moments are of the monotonic clock."""

    shot: Shot
    scheduled: float
    began: float = 0.0
    ended: float = 0.0
    status: int = 0  # 0: no answer, see error
    error: str | None = None

    @property
    def seconds(self) -> float:
        return self.ended - self.scheduled


class Lane(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    __slots__ = ("_buffer", "_sender", "sent", "transport")

    def __init__(self, sender: "Sender") -> None:
        self._sender = sender
        self._buffer = b""
        self.sent: Sent | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def fire(self, sent: Sent) -> None:
        assert self.transport is not None
        self.sent = sent
        sent.began = _now()
        self.transport.write(sent.shot.wire)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lower = head.lower()
        length = int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        sent, self.sent = self.sent, None
        if sent is None:  # an answer nobody asked for, such as a 408 for an idle connection
            return
        sent.ended, sent.status = _now(), int(head[9:12])
        if b"\r\nconnection: close" in lower:
            self.close()
        self._sender.answered(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.transport = None
        self.fail(RESET)
        self._sender.lost(self)

    def fail(self, error: str) -> None:
        if self.sent is not None:
            self.sent.ended, self.sent.error = _now(), error
            self.sent = None
            self._sender.answered(self)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()
            self.transport = None


class Sender:
    """Sends what it is given; its log tells the fate of each. One event loop, one sender."""

    def __init__(
        self, host: str, port: int, *, connections: int = 32, timeout_seconds: float = 5.0
    ) -> None:
        self.log: list[Sent] = []
        self._host = host
        self._port = port
        self._connections = connections
        self._timeout_seconds = timeout_seconds
        self._idle: deque[Lane] = deque()  # taken in turn, so that all connections are used
        self._lanes: set[Lane] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._due: deque[Sent] = deque()
        self._open = 0  # scheduled or under way
        self._stopped = False

    async def run(self, shots: Iterable[Shot], rate: float) -> list[Sent]:
        """Send all at this rate a second, and wait until each has its answer or its error."""
        first = len(self.log)
        upcoming = iter(shots)
        started, number, more = _now(), 0, True
        while more and not self._stopped:
            now = _now()
            while more and started + number / rate <= now:
                shot = next(upcoming, None)
                if shot is None:
                    more = False
                else:
                    self._schedule(Sent(shot, started + number / rate))
                    number += 1
            self._expire(now)
            await asyncio.sleep(_TICK_SECONDS)
        while self._open:
            self._expire(_now())
            await asyncio.sleep(_TICK_SECONDS)
        return self.log[first:]

    async def connect(self) -> None:
        """Open all connections beforehand, for measurements."""
        for _ in range(self._connections - len(self._lanes)):
            self._reach_out()
        while self._opening:
            await asyncio.wait(self._opening)

    def stop(self) -> None:
        """Send nothing more; what is under way is awaited by `run`."""
        self._stopped = True

    def resume(self) -> None:
        self._stopped = False

    async def close(self) -> None:
        for task in self._opening:
            task.cancel()
        for lane in list(self._lanes):
            lane.close()
        await asyncio.sleep(0)

    def _schedule(self, sent: Sent) -> None:
        self.log.append(sent)
        self._open += 1
        self._due.append(sent)
        self._serve()

    def _serve(self) -> None:
        while self._due and self._idle:
            lane = self._idle.popleft()
            if lane.transport is not None and not lane.transport.is_closing():
                lane.fire(self._due.popleft())
        wanted = min(len(self._due), self._connections - len(self._lanes)) - len(self._opening)
        for _ in range(wanted):
            self._reach_out()

    def _reach_out(self) -> None:
        task = asyncio.get_running_loop().create_task(self._connect())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, lane = await loop.create_connection(lambda: Lane(self), self._host, self._port)
        except OSError:
            # A connection refused is one webhook refused: its sender gets nothing else either.
            if self._due:
                self._finish(self._due.popleft(), REFUSED)
            await asyncio.sleep(_RETRY_SECONDS)
            return
        self._lanes.add(lane)
        self._idle.append(lane)
        self._serve()

    def answered(self, lane: Lane) -> None:
        self._open -= 1
        if lane.transport is not None:
            self._idle.append(lane)
        else:
            self._lanes.discard(lane)
        self._serve()

    def lost(self, lane: Lane) -> None:
        self._lanes.discard(lane)
        if lane in self._idle:
            self._idle.remove(lane)
        self._serve()

    def _finish(self, sent: Sent, error: str) -> None:
        sent.ended, sent.error = _now(), error
        self._open -= 1

    def _expire(self, now: float) -> None:
        oldest = now - self._timeout_seconds
        while self._due and self._due[0].scheduled < oldest:
            self._finish(self._due.popleft(), TIMEOUT)
        self._serve()
        for lane in [one for one in self._lanes if one.sent and one.sent.began < oldest]:
            lane.close()
            lane.fail(TIMEOUT)


def quantiles(log: Sequence[Sent], *shares: float) -> list[float]:
    """Seconds within which these shares of the answered were answered."""
    seconds = sorted(sent.seconds for sent in log if sent.status)
    return [seconds[min(len(seconds) - 1, int(share * len(seconds)))] for share in shares]
