"""The pages for probes and the console, asked over real sockets."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import uvloop

from trunkline import probe
from trunkline.errors import Misconfigured
from trunkline.probe import Page, serve

HOST = "127.0.0.1"
PATIENCE_SECONDS = 5.0  # only ever waited out by a test that fails


async def slow() -> Page:
    await asyncio.sleep(0)
    return Page(b"slow\n", "application/json", 503)


ROUTES: dict[str, probe.Route] = {"/livez": lambda: Page(b"ok\n"), "/slow": slow}


@contextlib.asynccontextmanager
async def served(hosts: frozenset[str] | None = None) -> AsyncIterator[tuple[str, int]]:
    async with serve("probe.bind", f"{HOST}:0", ROUTES, hosts) as address:
        host, _, port = address.rpartition(":")
        yield host, int(port)


async def said(address: tuple[str, int], *sent: bytes) -> bytes:
    """Everything that comes back until the other side closes."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        for part in sent:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await reader.read()
    finally:
        writer.close()


async def asked(
    address: tuple[str, int], target: str, method: str = "GET", host: str = HOST
) -> tuple[int, dict[str, str], bytes]:
    text = await said(address, f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head, _, body = text.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body


async def test_a_page_is_served_with_its_status_and_type() -> None:
    async with served() as address:
        status, headers, body = await asked(address, "/livez?verbose")
        assert (status, body) == (200, b"ok\n")
        assert headers["content-type"] == "text/plain; charset=utf-8"
        assert headers["content-length"] == "3"
        status, headers, body = await asked(address, "/slow")
        assert (status, body) == (503, b"slow\n")
        assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("target", ["/livez", "/nowhere"])
async def test_no_page_may_load_anything_from_elsewhere_or_be_framed(target: str) -> None:
    async with served() as address:
        _, headers, _ = await asked(address, target)
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["connection"] == "close"


async def test_what_is_not_there_is_answered_with_what_is() -> None:
    async with served() as address:
        status, _, body = await asked(address, "/metrics")
    assert status == 404
    assert body == b"there is: /livez /slow\n"


async def test_head_is_get_without_the_body() -> None:
    async with served() as address:
        status, headers, body = await asked(address, "/livez", "HEAD")
    assert (status, headers["content-length"], body) == (200, "3", b"")


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS", "get"])
async def test_nothing_can_be_changed_here(method: str) -> None:
    async with served() as address:
        assert (await asked(address, "/livez", method))[0] == 405


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8088", 200),
        ("[::1]", 200),
        ("[::1]:8088", 200),
        ("evil.example", 421),
        ("evil.example:8088", 421),
        ("localhost.evil.example", 421),
        ("[::2]", 421),
        ("", 421),
        (":8088", 421),
    ],
)
async def test_a_foreign_name_for_this_address_is_not_served(host: str, status: int) -> None:
    async with served(frozenset({"localhost", "[::1]"})) as address:
        assert (await asked(address, "/livez", host=host))[0] == status


async def test_without_a_host_header_a_page_limited_to_hosts_is_not_served() -> None:
    async with served(frozenset({"localhost"})) as address:
        answer = await said(address, b"GET /livez HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 421 ")


async def test_who_is_slow_to_ask_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_HEAD_SECONDS", 0.05)
    async with served() as address:
        assert await said(address, b"GET /livez HTTP/1.1\r\n") == b""
        assert (await asked(address, "/livez"))[0] == 200


async def test_a_head_that_is_too_long_gets_no_answer() -> None:
    async with served() as address:
        try:
            answer = await said(address, b"GET /livez HTTP/1.1\r\nx: " + b"y" * 20_000)
        except ConnectionError:
            answer = b""  # closed while we were still writing
        assert answer == b""
        assert (await asked(address, "/livez"))[0] == 200


@pytest.mark.parametrize("nonsense", [b"\r\n\r\n", b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET /"])
async def test_nonsense_harms_nobody(nonsense: bytes) -> None:
    async with served() as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(nonsense)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await reader.read()
        writer.close()
        assert answer == b"" or answer.split()[1] in (b"404", b"405")
        assert (await asked(address, "/livez"))[0] == 200


async def test_connections_are_capped_and_room_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_CONNECTIONS_MAX", 3)
    async with served() as address:
        idle = [await asyncio.open_connection(*address) for _ in range(3)]
        reader, writer = await asyncio.open_connection(*address)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await reader.read() == b"", "closed at once: three others are open"
        writer.close()
        for _, one in idle:
            one.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await said(address, b"GET /livez HTTP/1.1\r\n\r\n"):
                pass


async def test_a_unix_socket_is_served_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "probe"
    async with serve("probe.bind", f"unix:{path}", ROUTES) as address:
        assert address == f"unix:{path}"
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET /livez HTTP/1.1\r\n\r\n")
        assert (await reader.read()).endswith(b"ok\n")
        writer.close()
    assert not path.exists()


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as one:
        one.bind((HOST, 0))
        one.listen()
        yield one.getsockname()[1]


def test_a_port_that_is_taken_is_named_once_whatever_the_loop(taken: int) -> None:
    async def attempt() -> None:
        async with serve("probe.bind", f"{HOST}:{taken}", ROUTES):
            pass

    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            with pytest.raises(Misconfigured) as caught:
                runner.run(attempt())
            assert str(caught.value) == (
                f"probe.bind: cannot listen on {HOST}:{taken}: Address already in use"
            )


def test_a_name_that_nobody_knows_is_told_in_the_words_of_the_look_up() -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert probe.reason(error) == "Name or service not known"


async def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="No such file or directory"):
        async with serve("probe.bind", f"unix:{tmp_path}/gone/probe", ROUTES):
            pass


async def test_a_port_beyond_the_last_is_named() -> None:
    with pytest.raises(Misconfigured, match="65536 is not a port"):
        async with serve("probe.bind", f"{HOST}:65536", ROUTES):
            pass


def test_an_address_is_written_as_in_a_url() -> None:
    assert probe.address_text(("127.0.0.1", 80)) == "127.0.0.1:80"
    assert probe.address_text(("::1", 80, 0, 0)) == "[::1]:80"


@pytest.mark.parametrize("bind", ["[::1]:80", "localhost:80", "0.0.0.0:0"])
def test_an_address_is_read_as_it_is_written(bind: str) -> None:
    assert probe.address_text(probe.split_bind("x", bind)) == bind
