"""A few read-only pages over HTTP, for probes and the console; none of it faces the internet."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from trunkline.errors import Misconfigured

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_HEAD_BYTES_MAX = 8_192
_HEAD_SECONDS = 5.0
_CONNECTIONS_MAX = 64
_PORT_MAX = 65_535


@dataclass(frozen=True, slots=True)
class Page:
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200


Route = Callable[[], Page | Awaitable[Page]]

_HEADERS = (
    "connection: close\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
    "content-security-policy: default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'\r\n"
)


def split_bind(setting: str, bind: str) -> tuple[str, int]:
    host, _, port = bind.rpartition(":")
    if int(port) > _PORT_MAX:
        raise Misconfigured(setting, f"{port} is not a port")
    return host.strip("[]"), int(port)


def address_text(address: tuple[Any, ...]) -> str:
    """A socket's address as a URL would have it."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reason(error: OSError | UnicodeError) -> str:
    """Why an address cannot be listened on."""
    # Loops put a sentence of their own into strerror, which repeats the address; a failed look-up
    # has numbers of its own.
    if isinstance(error, UnicodeError):
        return "not a host name"
    if error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return str(error.strerror or error)


@contextlib.asynccontextmanager
async def serve(
    setting: str,
    bind: str,
    routes: Mapping[str, Route],
    hosts: frozenset[str] | None = None,
) -> AsyncIterator[str]:
    """Serve while the block runs; yields the address bound.

    `hosts` limits the Host header, so that a page on loopback cannot be read through a name which
    an attacker's site resolves to it.
    """
    pages = _Pages(routes, hosts)
    try:
        if bind.startswith("unix:"):
            server = await asyncio.start_unix_server(
                pages.answer, bind.removeprefix("unix:"), limit=_HEAD_BYTES_MAX
            )
            address = bind
        else:
            host, port = split_bind(setting, bind)
            server = await asyncio.start_server(pages.answer, host, port, limit=_HEAD_BYTES_MAX)
            address = address_text(server.sockets[0].getsockname())
    except (OSError, UnicodeError) as error:
        raise Misconfigured(setting, f"cannot listen on {bind}: {reason(error)}") from None
    try:
        yield address
    finally:
        server.close()
        if bind.startswith("unix:"):
            Path(bind.removeprefix("unix:")).unlink(missing_ok=True)  # noqa: ASYNC240  # one inode


class _Pages:
    def __init__(self, routes: Mapping[str, Route], hosts: frozenset[str] | None) -> None:
        self._routes = routes
        self._hosts = hosts
        self._open = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _CONNECTIONS_MAX:
                async with asyncio.timeout(_HEAD_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                page = await self._page(head)
                writer.write(_render(page, body=not head.startswith(b"HEAD ")))
                async with asyncio.timeout(_HEAD_SECONDS):
                    await writer.drain()
        except (
            TimeoutError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            ConnectionError,
        ):
            pass  # a client that cannot ask or does not listen gets nothing
        finally:
            self._open -= 1
            writer.close()

    async def _page(self, head: bytes) -> Page:
        request, *lines = head.decode("latin-1").split("\r\n")
        method, _, rest = request.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in ("GET", "HEAD"):
            return Page(b"only GET\n", status=405)
        if self._hosts is not None and _host(lines) not in self._hosts:
            return Page(b"this name is not served here\n", status=421)
        route = self._routes.get(path)
        if route is None:
            return Page(("there is: " + " ".join(self._routes) + "\n").encode(), status=404)
        page = route()
        return page if isinstance(page, Page) else await page


def _host(lines: list[str]) -> str:
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "host":
            host, colon, port = value.strip().rpartition(":")
            return host if colon and port.isdecimal() else value.strip()
    return ""


def _render(page: Page, *, body: bool) -> bytes:
    phrase = HTTPStatus(page.status).phrase
    head = (
        f"HTTP/1.1 {page.status} {phrase}\r\ncontent-type: {page.content_type}\r\n"
        f"content-length: {len(page.body)}\r\n{_HEADERS}\r\n"
    )
    return head.encode() + (page.body if body else b"")
