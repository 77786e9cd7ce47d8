"""Crowds at the door: the cap on connections, unfinished bodies, and clients that read nothing."""

import asyncio
import contextlib
import signal

from tests.door.rig import (
    Rig,
    Wire,
    head,
    lines_of,
    numbered,
    rig,
    until,
    webhook,
)

FORGED = head(*lines_of()[:3], "Content-Length: 3") + b"abc"


async def test_at_the_cap_the_longest_quiet_connection_makes_room_for_the_newest() -> None:
    async with rig(connections_max=8) as door:
        wires = [await door.wire() for _ in range(8)]
        for wire in reversed(wires):  # so the first has spoken last
            await wire.send(webhook())
            assert (await wire.answer()).status == 200
        newest = await door.wire()
        await newest.send(webhook())
        assert (await newest.answer()).status == 200
        await wires[-1].ended()
        await wires[0].send(webhook())
        assert (await wires[0].answer()).status == 200
        assert door.metrics.ingest_evicted.value == 1


async def test_a_flood_of_connections_never_evicts_a_webhook_on_its_way() -> None:
    async with rig(connections_max=4) as door:
        door.stream.gate.clear()
        busy = await door.wire()
        await busy.send(webhook())
        await until(lambda: door.appender.bytes_held)
        for _ in range(20):
            await door.wire()
        await until(lambda: door.metrics.ingest_evicted.value >= 17)
        assert door.door.connections <= 4
        door.stream.gate.set()
        assert (await busy.answer()).status == 200


async def test_when_all_wait_for_the_stream_the_cap_still_holds() -> None:
    async with rig(connections_max=4) as door:
        door.stream.gate.clear()
        wires = [await door.wire() for _ in range(12)]
        for number, wire in enumerate(wires):
            await wire.send(webhook(numbered(number)))
        await until(lambda: door.appender.bytes_held)
        for _ in range(20):
            await door.wire()
        await until(lambda: door.door.connections <= 4)
        door.stream.gate.set()


async def test_unfinished_bodies_are_bounded_and_the_oldest_gives_way() -> None:
    async with rig(receiving_bytes_max=1_000_000) as door:
        slow = [await door.wire() for _ in range(9)]
        for wire in slow:
            await wire.send(head("Host: x", "Content-Length: 200000") + b"x" * 120_000)
        await until(lambda: door.metrics.ingest_evicted.value)
        assert door.door.held_bytes <= 1_000_000
        assert [one.status for one in await slow[0].answers()] == [503]
        assert (await door.ask(webhook())).status == 200


async def test_a_client_that_reads_no_answers_cannot_make_the_door_hold_them() -> None:
    async with rig() as door:
        wire = await door.wire()
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
        sent = await _flood(door, wire)
        assert any(one.paused for one in door.door._connections), f"after {sent}"
        door.clock.advance(10.1)
        await until(lambda: not door.door.connections)
        assert (await door.ask(webhook())).status == 200


async def _flood(door: Rig, wire: Wire) -> int:
    """Requests until the door stops listening; the answers stay where they are."""
    batch = FORGED * 500
    for sent in range(400):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await wire.send(batch)
                await asyncio.sleep(0.001)
        if any(one.paused for one in door.door._connections):
            return sent
    return 400


async def test_a_client_that_reads_again_is_served_again() -> None:
    async with rig() as door:
        wire = await door.wire()
        transport = wire.reader._transport  # type: ignore[attr-defined]
        transport.pause_reading()
        await _flood(door, wire)
        before = door.received
        wire.writer.write(webhook())
        transport.resume_reading()
        statuses = set()
        while 200 not in statuses:
            statuses.add((await wire.answer()).status)
        assert statuses == {200, 401}
        assert door.received > before


async def test_room_is_made_though_the_oldest_is_just_being_cut_off() -> None:
    def stuck(*_: object) -> None:
        raise TimeoutError("it looks for room for ever")

    async with rig(receiving_bytes_max=1_000_000) as door:
        slow = [await door.wire() for _ in range(9)]
        for wire in slow[:8]:
            await wire.send(head("Host: x", "Content-Length: 200000") + b"x" * 120_000)
        await until(lambda: door.door.held_bytes == 8 * 120_000)
        await until(lambda: door.door.connections == 9)
        connections = list(door.door._connections)
        # In one turn of the loop, as when a deadline passes while a body arrives: the oldest has
        # been told to go and has not left yet.
        next(iter(door.door._receiving)).abort()
        newest = next(one for one in connections if not one.receiving)
        before = signal.signal(signal.SIGALRM, stuck)
        signal.setitimer(signal.ITIMER_REAL, 2)
        try:
            newest.data_received(head("Host: x", "Content-Length: 200000") + b"x" * 120_000)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        await until(lambda: door.door.held_bytes <= 1_000_000)
