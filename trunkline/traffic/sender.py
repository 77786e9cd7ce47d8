"""Posts synthetic traffic to the door over real HTTP, at a rate the door cannot slow down."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from trunkline.clock import Clock
from trunkline.service import until
from trunkline.traffic.script import Posting

RATE_MAX = 1_000.0
_UNDER_WAY_MAX = 256
_ANSWER_SECONDS = 5.0
_BEHIND_SECONDS_MAX = 1.0
_HEAD_BYTES_MAX = 16_384


@dataclass(slots=True)
class Sent:
    """What was sent, and what came back."""

    sent: int = 0
    unsent: int = 0  # due while too many others still waited for an answer
    unanswered: int = 0
    unexpected: int = 0  # answered otherwise than it had to be
    answers: Counter[int] = field(default_factory=Counter)
    intents: Counter[str] = field(default_factory=Counter)

    @property
    def under_way(self) -> int:
        return self.sent - self.unanswered - self.answers.total()

    def as_dict(self) -> dict[str, object]:
        return {
            "sent": self.sent,
            "unsent": self.unsent,
            "under_way": self.under_way,
            "unanswered": self.unanswered,
            "unexpected": self.unexpected,
            "answers": {str(status): count for status, count in sorted(self.answers.items())},
            "intents": dict(sorted(self.intents.items())),
        }


class _Broken(Exception):
    """The connection ended before a whole answer; `fresh` if not a byte of one had come."""

    def __init__(self, *, fresh: bool) -> None:
        self.fresh = fresh


class Sender:
    """`heard` is told each posting and its answer, None if there was none."""

    def __init__(
        self,
        host: str,
        port: int,
        path: str,
        clock: Clock,
        heard: Callable[[Posting, int | None], None] = lambda posting, status: None,  # noqa: ARG005
    ) -> None:
        self._host = host
        self._port = port
        self._path = path
        self._clock = clock
        self._heard = heard
        self._idle: list[_Client] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.sent = Sent()

    async def run(
        self, script: Callable[[float], Posting], rate: float, stop: asyncio.Event
    ) -> None:
        """Open loop: a slow answer delays nothing that is due after it."""
        interval = 1 / rate
        due = self._clock.monotonic()
        while not await until(stop, max(0.0, due - self._clock.monotonic())):
            if self._clock.monotonic() - due > _BEHIND_SECONDS_MAX:
                due = self._clock.monotonic()  # the machine slept: what was due then is not owed
            due += interval
            if len(self._tasks) >= _UNDER_WAY_MAX:
                self.sent.unsent += 1
                continue
            task = asyncio.create_task(self._post(script(self._clock.now())), name="post")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._tasks:
            await asyncio.wait(self._tasks)
        for client in self._idle:
            client.close()

    async def _post(self, posting: Posting) -> None:
        self.sent.sent += 1
        self.sent.intents[posting.intent] += 1
        status = await self._answer(posting)
        if status is None:
            self.sent.unanswered += 1
        else:
            self.sent.answers[status] += 1
            # 503 is the door's right at any time; Telnyx would send the event again.
            if status not in (posting.status, 503):
                self.sent.unexpected += 1
        self._heard(posting, status)

    async def _answer(self, posting: Posting) -> int | None:
        request = self._request(posting)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                while self._idle:
                    try:
                        return await self._through(self._idle.pop(), request)
                    except _Broken as broken:
                        if not broken.fresh:
                            return None
                        # The door had closed it for having been idle: that request never arrived.
                return await self._through(await self._connect(), request)
        except (OSError, TimeoutError, _Broken):
            return None

    async def _connect(self) -> "_Client":
        return _Client(
            *await asyncio.open_connection(self._host, self._port, limit=_HEAD_BYTES_MAX)
        )

    async def _through(self, client: "_Client", request: bytes) -> int:
        keep = False
        try:
            status, keep = await client.exchange(request)
        finally:
            if keep:
                self._idle.append(client)
            else:
                client.close()
        return status

    def _request(self, posting: Posting) -> bytes:
        headers = "".join(f"{name}: {value}\r\n" for name, value in posting.headers)
        return (
            f"POST {self._path} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\n"
            f"{headers}content-length: {len(posting.body)}\r\n\r\n"
        ).encode() + posting.body


class _Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def exchange(self, request: bytes) -> tuple[int, bool]:
        """The answer's status, and whether the connection can be used again."""
        try:
            self._writer.write(request)
            await self._writer.drain()
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise _Broken(fresh=not error.partial) from None
        except ConnectionError:
            raise _Broken(fresh=True) from None
        except asyncio.LimitOverrunError:
            raise _Broken(fresh=False) from None
        try:
            status, length, closing = read_head(head)
            await self._reader.readexactly(length)
        except (ValueError, asyncio.IncompleteReadError, ConnectionError):
            raise _Broken(fresh=False) from None
        return status, not closing

    def close(self) -> None:
        self._writer.close()


def read_head(head: bytes) -> tuple[int, int, bool]:
    """Status, length of the body, and whether the connection ends with it."""
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(":", 1) for line in lines if ":" in line)
    length = int(fields.get("content-length", "0"))
    return int(first.split(" ")[1]), length, "close" in fields.get("connection", "")
