"""The door on loopback with a memory stream behind it, and a raw socket in front of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from typing import Any

from ingest.connection import Connection
from ingest.door import Door
from ingest.tally import Tally
from tests.load.webhooks import request
from trunkline import topics
from trunkline.clock import ManualClock
from trunkline.keys import DevelopmentKey, Keyring
from trunkline.log import Sampler
from trunkline.metrics import Metrics
from trunkline.settings import AccountSection, IngestSection, Settings, TelnyxSection, TopicsSection
from trunkline.stream.appender import Appender
from trunkline.stream.memory import MemoryStream

KEY = DevelopmentKey(b"k" * 32)
OTHER_KEY = DevelopmentKey(b"o" * 32)
NOW = 1_700_000_000.0
BODY = b'{"data":{"id":"e-1","event_type":"call.initiated","payload":{"call_session_id":"s-1"}}}'
_PATIENCE_SECONDS = 3.0  # only ever waited out by a test that fails


@dataclass(frozen=True, slots=True)
class Got:
    status: int
    headers: dict[str, str]
    body: bytes


async def until(holds: Callable[[], object]) -> None:
    """What the door does is seen on its side a turn of the loop later."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110  # nothing there announces itself
            await asyncio.sleep(0.001)


def sign(body: bytes, at: float = NOW, key: DevelopmentKey = KEY) -> dict[str, str]:
    timestamp = str(int(at))
    return {
        "telnyx-signature-ed25519": key.sign(timestamp, body),
        "telnyx-timestamp": timestamp,
    }


def webhook(body: bytes = BODY, at: float = NOW, *, path: str = "/webhooks/telnyx") -> bytes:
    """A whole honest request."""
    signed = sign(body, at)
    return request(body, signed["telnyx-timestamp"], signed["telnyx-signature-ed25519"], path=path)


def numbered(number: int) -> bytes:
    return BODY.replace(b"e-1", b"e-%d" % number)


def sized(size: int) -> bytes:
    """A readable body of so many bytes."""
    return (b'{"id":"big","event_type":"call.cost","p":"' + b"x" * size)[: size - 2] + b'"}'


def head(
    *lines: str, method: str = "POST", target: str = "/webhooks/telnyx", version: str = "HTTP/1.1"
) -> bytes:
    return "\r\n".join([f"{method} {target} {version}", *lines, "", ""]).encode("latin-1")


def lines_of(body: bytes = BODY, *, length: bool = True) -> list[str]:
    """The header lines of an honest request, to be spoilt."""
    lines = ["Host: door.example", *(f"{name}: {value}" for name, value in sign(body).items())]
    return [*lines, f"Content-Length: {len(body)}"] if length else lines


def chunks(body: bytes, *sizes: int) -> bytes:
    out = []
    for size in (*sizes, len(body)):
        if not body:
            break
        out.append(b"%x\r\n%s\r\n" % (len(body[:size]), body[:size]))
        body = body[size:]
    return b"".join(out) + b"0\r\n\r\n"


class Wire:
    """A client that sends whatever bytes it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        # A door that has refused may close under our hands: what it answered is what counts.
        with contextlib.suppress(ConnectionError, RuntimeError):  # uvloop's word for closed
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self) -> Got:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            text = await self.reader.readuntil(b"\r\n\r\n")
            status, *lines = text.decode("latin-1").rstrip().split("\r\n")
            pairs = (line.split(": ", 1) for line in lines)
            headers = {name.lower(): value for name, value in pairs}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Got(int(status.split()[1]), headers, body)

    async def answers(self) -> list[Got]:
        """Everything up to the end of the connection."""
        found = []
        while True:
            try:
                found.append(await self.answer())
            except ConnectionError:
                return found
            except asyncio.IncompleteReadError as end:
                found += [Got(0, {}, end.partial)] if end.partial else []  # a torn answer
                return found

    async def ended(self) -> None:
        assert await self.answers() == []

    def close_half(self) -> None:
        self.writer.write_eof()

    def close_half_if_open(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self.close_half()

    def close(self) -> None:
        self.writer.transport.abort()

    def reset(self) -> None:
        """As a crashed client's machine does, rather than a polite end."""
        socket = self.writer.get_extra_info("socket")
        socket.setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))
        self.close()


@dataclass(slots=True)
class Rig:
    door: Door
    stream: MemoryStream
    appender: Appender
    clock: ManualClock
    metrics: Metrics
    port: int
    crashes: list[dict[str, Any]] = field(default_factory=list)
    _wires: list[Wire] = field(default_factory=list)

    async def wire(self) -> Wire:
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port))
        self._wires.append(wire)
        return wire

    async def ask(self, data: bytes) -> Got:
        """Send on a connection of its own, and take the first answer."""
        wire = await self.wire()
        await wire.send(data)
        return await wire.answer()

    async def ask_all(self, data: bytes) -> list[Got]:
        """Send, say that nothing more comes, and take every answer."""
        wire = await self.wire()
        await wire.send(data)
        wire.close_half_if_open()
        return await wire.answers()

    @property
    def bodies(self) -> list[bytes | None]:
        return [delivery.value for delivery in self.stream.records]

    def count(self, verdict: str) -> float:
        return self.metrics.ingest_requests.of[verdict]

    @property
    def received(self) -> float:
        return sum(self.metrics.ingest_requests.of.values())

    def refused(self, reason: str) -> float:
        return self.metrics.ingest_refused.of[reason]

    async def until_empty(self) -> None:
        """Every connection has ended, and nothing of any is left."""
        for wire in self._wires:
            wire.close()
        await until(lambda: not self.door.connections and not self.appender.bytes_held)
        assert self.door.held_bytes == 0


def limits(**changes: object) -> IngestSection:
    return IngestSection.model_validate(changes)


def keyring() -> Keyring:
    settings = Settings(
        telnyx=TelnyxSection.model_validate({"public_key": KEY.public.text}),
        accounts=(
            AccountSection.model_validate({"name": "acme", "public_key": OTHER_KEY.public.text}),
        ),
    )
    return Keyring.of(settings)


@contextlib.asynccontextmanager
async def rig(**changes: object) -> AsyncIterator[Rig]:
    """Leaving it closes everything, and fails if anything went wrong unseen."""
    loop = asyncio.get_running_loop()
    clock = ManualClock(NOW)
    stream = MemoryStream(topics.specs(TopicsSection.model_validate({"partitions": 1})))
    settings = limits(**changes)
    appender = Appender(
        stream,
        clock,
        wait_seconds=settings.answer_seconds,
        bytes_max=settings.inflight_bytes_max,
        flush_records_max=settings.flush_records_max,
        flush_bytes_max=settings.flush_bytes_max,
    )
    metrics = Metrics()
    names = topics.prefixed("")
    door = Door(settings, keyring(), appender, names, Tally(metrics), clock, Sampler(0))
    server = await loop.create_server(lambda: Connection(door), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = Rig(door, stream, appender, clock, metrics, port)
    loop.set_exception_handler(lambda _, context: made.crashes.append(context))
    try:
        yield made
        stream.gate.set()
        await made.until_empty()
        assert made.crashes == []
    finally:
        loop.set_exception_handler(None)
        server.close()
        for wire in made._wires:
            wire.close()
        for connection in list(door._connections):
            connection.abort()
        await asyncio.sleep(0.001)
        if door._sweeping is not None:
            door._sweeping.cancel()
