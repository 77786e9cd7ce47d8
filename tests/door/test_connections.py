"""How connections live and end: deadlines, pipelines, halves, eviction; each request is counted."""

import asyncio

import pytest

from tests.door.rig import (
    BODY,
    Rig,
    chunks,
    head,
    lines_of,
    numbered,
    rig,
    until,
    webhook,
)
from trunkline.errors import StreamUnavailable

FORGED = head(*lines_of()[:3], "Content-Length: 3") + b"abc"


async def test_slow_headers_are_answered_408() -> None:
    async with rig() as door:
        wire = await door.wire()
        await wire.send(head(*lines_of())[:-2])
        await until(lambda: _receiving(door) == 1)
        door.clock.advance(4.9)
        await wire.send(b"a: b\r\n")  # dripping does not prolong it
        door.clock.advance(0.2)
        assert [one.status for one in await wire.answers()] == [408]
        assert door.refused("headers_late") == door.received == 1


async def test_a_slow_body_is_answered_408() -> None:
    async with rig() as door:
        wire = await door.wire()
        await wire.send(head(*lines_of()) + BODY[:-1])
        await until(lambda: door.door.held_bytes)
        door.clock.advance(10.1)
        assert [one.status for one in await wire.answers()] == [408]
        assert door.refused("body_late") == door.received == 1


async def test_an_idle_connection_is_closed_without_a_word_and_without_a_verdict() -> None:
    async with rig(idle_seconds=75) as door:
        fresh, used = await door.wire(), await door.wire()
        await used.send(webhook())
        assert (await used.answer()).status == 200
        await until(lambda: door.door.connections == 2)
        door.clock.advance(75.1)
        await fresh.ended()
        await used.ended()
        assert door.received == 1


async def test_empty_lines_do_not_keep_a_connection_alive() -> None:
    async with rig() as door:
        wire = await door.wire()
        await wire.send(b"\r\n" * 1_000)
        await until(lambda: door.door.connections)
        door.clock.advance(75.1)
        await wire.ended()
        assert door.received == 0


def _receiving(door: Rig) -> int:
    return sum(1 for one in door.door._connections if one.receiving)


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with rig() as door:
        door.stream.gate.clear()
        wire = await door.wire()
        # The forged one is judged at once, and still waits for its turn.
        forged = webhook(numbered(3)).replace(b"e-3", b"e-4")
        await wire.send(webhook(numbered(1)) + forged + webhook(numbered(2)))
        await until(lambda: door.count("refused"))
        door.stream.gate.set()
        got = [(await wire.answer()).status for _ in range(3)]
        assert got == [200, 401, 200]
        assert door.bodies == [numbered(1), numbered(2)]


async def test_a_pipeline_has_an_end() -> None:
    async with rig() as door:
        door.stream.gate.clear()
        wire = await door.wire()
        await wire.send(b"".join(webhook(numbered(number)) for number in range(40)))
        await until(lambda: door.count("refused"))
        door.stream.gate.set()
        got = [one.status for one in await wire.answers()]
        assert got == [200] * 32 + [400]
        assert len(door.bodies) == 32
        assert door.received == 33


@pytest.mark.parametrize(
    "closing",
    [
        head(*lines_of(), "Connection: close") + BODY,
        head(*lines_of(), version="HTTP/1.0") + BODY,
        head(*lines_of(), "Connection: keep-alive", version="HTTP/1.0") + BODY,
        head(*lines_of()[:2], "Content-Length: 3", "Connection: close") + b"abc",
        head("Host: x", "Connection: keep-alive", "Content-Length: 3", version="HTTP/1.0") + b"abc",
    ],
)
async def test_who_asks_to_close_is_answered_and_nothing_behind_is_read(closing: bytes) -> None:
    async with rig() as door:
        wire = await door.wire()
        await wire.send(closing + webhook(numbered(2)) + webhook(numbered(3)))
        got = await wire.answers()
        assert len(got) == 1
        assert got[0].headers["connection"] == "close"
        await door.until_empty()
        assert set(door.bodies) <= {BODY}, "what came behind is not taken"
        assert door.count("gone") + len(got) == door.received


async def test_what_comes_behind_a_slow_last_request_is_not_counted_twice() -> None:
    async with rig() as door:
        door.stream.gate.clear()
        wire = await door.wire()
        closing = head(*lines_of(), "Connection: keep-alive", version="HTTP/1.0") + BODY
        await wire.send(closing + webhook(numbered(2)) + webhook(numbered(3)))
        await until(lambda: door.appender.bytes_held)
        door.stream.gate.set()
        assert [one.status for one in await wire.answers()] == [200]
        await door.until_empty()
        assert door.count("accepted") == 1
        assert door.count("gone") + 1 == door.received


async def test_while_draining_every_answer_ends_its_connection() -> None:
    async with rig() as door:
        door.door.draining = True
        for data in (webhook(), FORGED, webhook() + webhook(numbered(2)), FORGED + FORGED):
            got = await door.ask_all(data)
            assert len(got) == 1
            assert got[0].headers["connection"] == "close"
        await door.until_empty()
        assert door.received >= 4


async def test_draining_answers_what_is_open_and_sends_the_idle_away() -> None:
    async with rig() as door:
        door.stream.gate.clear()
        idle, busy = await door.wire(), await door.wire()
        await busy.send(webhook())
        await until(lambda: door.appender.bytes_held and door.door.connections == 2)

        async def release() -> None:
            await idle.ended()
            door.stream.gate.set()

        async def leave() -> list[int]:
            got = [one.status for one in await busy.answers()]
            busy.close()
            return got

        async with asyncio.timeout(5):
            _, _, got = await asyncio.gather(door.door.drain(10.0), release(), leave())
        assert got == [200]
        assert door.door.connections == 0


async def test_a_client_that_closes_its_half_still_reads_its_answers() -> None:
    async with rig() as door:
        door.stream.gate.clear()
        wire = await door.wire()
        await wire.send(webhook(numbered(1)) + webhook(numbered(2)))
        wire.close_half()
        await until(lambda: door.appender.bytes_held)
        door.stream.gate.set()
        assert [one.status for one in await wire.answers()] == [200, 200]


async def test_a_client_that_closes_its_half_in_a_request_is_gone() -> None:
    async with rig() as door:
        wire = await door.wire()
        await wire.send(head(*lines_of()) + BODY[:-1])
        wire.close_half()
        await wire.ended()
        assert door.count("gone") == door.received == 1
        assert door.bodies == []


async def test_a_client_that_resets_while_its_webhook_is_being_kept_is_gone() -> None:
    async with rig() as door:
        door.stream.gate.clear()
        wire = await door.wire()
        await wire.send(webhook())
        await until(lambda: door.appender.bytes_held)
        wire.reset()
        await until(lambda: not door.door.connections)
        door.stream.gate.set()
        await until(lambda: door.bodies)
        assert door.count("gone") == door.received == 1


async def test_a_refusal_is_heard_though_its_body_was_still_coming() -> None:
    """Closing at once on unread bytes would reset the connection and take the answer with it."""
    async with rig() as door:
        for _ in range(20):
            wire = await door.wire()
            await wire.send(head("Host: x", "Content-Length: 1000001") + b"x" * 500_000)
            assert (await wire.answer()).status == 413


async def test_who_sends_on_and_on_after_a_refusal_is_cut_off() -> None:
    async with rig() as door:
        wire = await door.wire()
        await wire.send(head("Host: x", "Content-Length: 1000001"))
        assert (await wire.answer()).status == 413
        for _ in range(64):
            await wire.send(b"x" * 65_536)
        await until(lambda: not door.door.connections)


async def test_a_refused_connection_that_stays_is_closed_after_a_second() -> None:
    async with rig() as door:
        wire = await door.wire()
        await wire.send(head(*lines_of(), method="PUT"))
        assert (await wire.answer()).status == 405
        door.clock.advance(1.1)
        await until(lambda: not door.door.connections)


async def test_late_answers_of_a_refused_connection_do_not_prolong_it() -> None:
    async with rig() as door:
        door.stream.gate.clear()
        wire = await door.wire()
        closing = head(*lines_of(), "Connection: keep-alive", version="HTTP/1.0") + BODY
        await wire.send(closing + webhook(numbered(2)))
        await until(lambda: door.appender.bytes_held)
        door.stream.gate.set()
        assert (await wire.answer()).status == 200
        door.clock.advance(1.1)
        await until(lambda: not door.door.connections)


async def test_a_503_keeps_its_connection() -> None:
    async with rig() as door:
        door.stream.failure = StreamUnavailable("down")
        wire = await door.wire()
        for _ in range(3):
            await wire.send(webhook())
            assert (await wire.answer()).status == 503


async def test_every_body_released_is_a_body_counted() -> None:
    """However a streamed body ends, what it held is given back once."""
    streamed = head(*(one for one in lines_of(length=False)), "Transfer-Encoding: chunked")
    async with rig() as door:
        for data in (
            streamed + chunks(b"x" * 1_000_001, *[65_536] * 16),
            streamed + chunks(BODY, 10)[:-3],
            streamed + chunks(BODY, 10)[:-30] + b"garbage\r\n\r\n",
            streamed + chunks(BODY),
        ):
            await door.ask_all(data)
            await until(lambda: not door.door.connections)
            assert door.door._receiving_bytes == 0


async def test_what_a_draining_connection_leaves_unanswered_is_counted_once() -> None:
    async with rig() as door:
        door.stream.gate.clear()
        wire = await door.wire()
        await wire.send(webhook(numbered(1)) + webhook(numbered(2)))
        await until(lambda: _waiting(door) == 2)
        door.door.draining = True  # the first answer now ends the connection
        door.stream.gate.set()
        assert [one.status for one in await wire.answers()] == [200]
        await door.until_empty()
        assert (door.count("accepted"), door.count("gone"), door.received) == (1, 1, 2)


def _waiting(door: Rig) -> int:
    return sum(len(one._replies) for one in door.door._connections)
