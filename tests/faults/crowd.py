"""Clients that mean no good: they write slowly, read nothing, or both, by the hundred."""

import asyncio
import contextlib

from tests.load.webhooks import request

DRIP_SECONDS = 0.1
_HEAD = b"POST /webhooks/telnyx HTTP/1.1\r\nHost: x\r\n"
_FORGED = request(b"{}", "1700000000", "AAAA")


class Crowd:
    """Keeps so many of each busy until closed; whoever is thrown out comes back."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._tasks: list[asyncio.Task[None]] = []
        self.thrown_out = 0

    def add(self, count: int, first: bytes, drip: bytes) -> None:
        self._tasks += [asyncio.create_task(self._client(first, drip)) for _ in range(count)]

    def slow_headers(self, count: int) -> None:
        self.add(count, _HEAD, b"a: b\r\n")

    def slow_bodies(self, count: int) -> None:
        self.add(count, _HEAD + b"Content-Length: 900000\r\n\r\n" + b"x" * 20_000, b"x" * 100)

    def deaf_askers(self, count: int) -> None:
        """They pipeline requests and never read an answer."""
        self.add(count, _FORGED, _FORGED * 20)

    async def _client(self, first: bytes, drip: bytes) -> None:
        while True:
            with contextlib.suppress(OSError):
                # A small buffer of ours, so that what we do not read soon fills the door's.
                _, writer = await asyncio.open_connection(self._host, self._port, limit=2_048)
                try:
                    writer.transport.pause_reading()  # type: ignore[attr-defined]
                    writer.write(first)
                    await self._drip(writer, drip)
                finally:
                    writer.transport.abort()
            self.thrown_out += 1
            await asyncio.sleep(DRIP_SECONDS)

    async def _drip(self, writer: asyncio.StreamWriter, drip: bytes) -> None:
        while not writer.is_closing():
            await asyncio.sleep(DRIP_SECONDS)
            if writer.transport.get_write_buffer_size() < 65_536:
                writer.write(drip)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
