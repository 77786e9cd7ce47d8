"""Mutated requests by the thousand: the door never crashes, never lies, and always counts."""

import asyncio
import contextlib
import random
from collections.abc import Callable

import pytest

from tests.door.rig import BODY, Got, Rig, chunks, head, lines_of, numbered, rig, webhook

SEEDS = range(100, 250)
ROUNDS = 1_000
_TOKENS = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"0", b"-1", b"+", b"\xff",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
    b"Expect: 100-continue\r\n", b"Host: x\r\n", b"telnyx-timestamp: 1\r\n", b"HTTP/1.0",
    b"GET ", b"POST /webhooks/telnyx HTTP/1.1\r\n", b"\r\n\r\n", b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"a" * 3_000, b"Content-Encoding: gzip\r\n",
)  # fmt: skip


def honest(source: random.Random) -> tuple[bytes, bytes]:
    """A good request and its body."""
    body = numbered(source.randrange(10**9))
    if source.random() < 0.4:
        sizes = [source.randint(1, 40) for _ in range(source.randrange(4))]
        lines = [*lines_of(body, length=False), "Transfer-Encoding: chunked"]
        return head(*lines) + chunks(body, *sizes), body
    return webhook(body), body


def flip(data: bytearray, source: random.Random) -> None:
    data[source.randrange(len(data))] ^= 1 << source.randrange(8)


def insert(data: bytearray, source: random.Random) -> None:
    place = source.randrange(len(data))
    data[place:place] = source.choice(_TOKENS)


def delete(data: bytearray, source: random.Random) -> None:
    place = source.randrange(len(data))
    del data[place : place + source.randint(1, 20)]


def copy(data: bytearray, source: random.Random) -> None:
    start, place = source.randrange(len(data)), source.randrange(len(data))
    data[place:place] = data[start : start + source.randint(1, 60)]


def swap_line(data: bytearray, source: random.Random) -> None:
    lines = bytes(data).split(b"\r\n")
    first, second = source.randrange(len(lines)), source.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    data[:] = b"\r\n".join(lines)


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip,
    insert,
    delete,
    copy,
    swap_line,
)


def volley(source: random.Random) -> tuple[bytes, set[bytes]]:
    """What one connection sends, and every body in it that is authentic."""
    data, bodies = bytearray(), set()
    for _ in range(source.randint(1, 4)):
        request, body = honest(source)
        bodies.add(body)
        spoilt = bytearray(request)
        for _ in range(source.choice((0, 1, 1, 2, 5))):
            source.choice(MUTATIONS)(spoilt, source)
            spoilt = spoilt or bytearray(b"\0")
        data += spoilt
    return bytes(data), bodies


async def fire(door: Rig, data: bytes, source: random.Random) -> list[Got]:
    wire = await door.wire()
    while data:
        size = source.choice((1, 7, 60, 500, 10_000))
        await wire.send(data[:size])
        data = data[size:]
        await asyncio.sleep(0)
    match source.randrange(4):
        case 0:
            wire.close()
            return []
        case 1:
            with contextlib.suppress(OSError):
                wire.reset()
            return []
        case _:
            wire.close_half_if_open()
            return await wire.answers()


@pytest.mark.parametrize("seed", SEEDS)
async def test_mutated_requests_never_crash_the_door_nor_get_a_false_200(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311  # repeatable noise
    authentic: set[bytes] = set()
    oks = 0
    loop = asyncio.get_running_loop()
    async with rig() as door:
        door.door.draining = seed % 4 == 3
        for _ in range(ROUNDS):
            data, bodies = volley(source)
            authentic |= bodies
            before = door.received
            if source.random() < 0.5:  # answers that come later, in the order they are due
                door.stream.gate.clear()
                loop.call_later(source.random() / 500, door.stream.gate.set)
            got = await fire(door, data, source)
            finals = [one for one in got if one.status != 100]
            oks += sum(1 for one in finals if one.status == 200)
            assert {one.status for one in finals} <= {
                200, 400, 401, 404, 405, 408, 413, 414, 415, 417, 431,
            }, data  # fmt: skip
            assert all("connection" not in one.headers for one in finals[:-1]), "the end is the end"
            assert door.received - before >= len(finals)
            assert not door.crashes, (door.crashes, data)
        await door.until_empty()
        kept = set(door.bodies)
        assert kept <= authentic, "only what was signed is kept"
        assert oks <= door.count("accepted"), "every 200 is counted"
        assert door.count("accepted") <= len(authentic) * 4
        assert sum(door.metrics.ingest_refused.of.values()) == door.count("refused")
        assert oks > ROUNDS / 10, "some were left whole"
        assert BODY not in kept
