"""What the stream does to an answer: no 200 before it is durable, no wait without an end."""

from tests.door.rig import (
    BODY,
    OTHER_KEY,
    numbered,
    rig,
    sign,
    sized,
    until,
    webhook,
)
from tests.load.webhooks import request
from trunkline.errors import RecordRefused, StreamUnavailable


async def test_nothing_is_answered_before_the_record_is_durable() -> None:
    async with rig() as door:
        door.stream.gate.clear()
        wire = await door.wire()
        await wire.send(webhook())
        await until(lambda: door.appender.bytes_held)
        assert door.received == 0
        assert not wire.reader._buffer  # type: ignore[attr-defined]  # nothing has come
        door.stream.gate.set()
        assert (await wire.answer()).status == 200


async def test_a_stream_that_fails_is_answered_503_with_a_time_to_come_back() -> None:
    async with rig(retry_after_seconds=7) as door:
        for failure in (StreamUnavailable("down"), RecordRefused("too large")):
            door.stream.failure = failure
            wire = await door.wire()
            await wire.send(webhook())
            got = await wire.answer()
            assert (got.status, got.headers["retry-after"]) == (503, "7")
            door.stream.failure = None
            await wire.send(webhook(numbered(9 + int(door.received))))
            assert (await wire.answer()).status == 200, "the connection lives"
        assert door.count("unavailable") == 2


async def test_a_stream_that_hangs_is_answered_503_when_the_time_is_up() -> None:
    async with rig() as door:
        door.stream.gate.clear()
        wire = await door.wire()
        await wire.send(webhook())
        await until(lambda: door.appender.bytes_held)
        door.clock.advance(1.0)
        assert (await wire.answer()).status == 503
        door.stream.gate.set()
        await until(lambda: door.bodies)
        await wire.send(webhook())
        assert (await wire.answer()).status == 200, "what landed late is harmless"


async def test_bytes_waiting_for_the_stream_are_bounded() -> None:
    async with rig(inflight_bytes_max=1_100_000) as door:
        door.stream.gate.clear()
        wire = await door.wire()
        await wire.send(webhook(sized(1_000_000)))
        await until(lambda: door.appender.bytes_held)
        body = b'{"id":"2","event_type":"call.cost","p":"' + b"x" * 200_000 + b'"}'
        assert (await door.ask(webhook(body))).status == 503
        assert door.appender.bytes_held < 1_100_000
        door.stream.gate.set()
        assert (await wire.answer()).status == 200


async def test_a_webhook_that_comes_again_is_kept_once_and_answered_200() -> None:
    async with rig() as door:
        wire = await door.wire()
        for _ in range(3):
            await wire.send(webhook())
            assert (await wire.answer()).status == 200
        assert door.bodies == [BODY]
        assert door.count("accepted") == 3
        assert door.metrics.ingest_duplicates.value == 2


async def test_a_repeat_of_what_is_not_yet_durable_waits_for_durability_too() -> None:
    async with rig() as door:
        door.stream.failure = StreamUnavailable("down")
        assert (await door.ask(webhook())).status == 503
        assert (await door.ask(webhook())).status == 503, "failing is not durable"
        door.stream.failure = None
        assert (await door.ask(webhook())).status == 200
        assert door.bodies == [BODY]


async def test_the_same_id_from_two_accounts_is_two_events() -> None:
    async with rig() as door:
        signed = sign(BODY, key=OTHER_KEY)
        theirs = request(
            BODY,
            signed["telnyx-timestamp"],
            signed["telnyx-signature-ed25519"],
            path="/webhooks/telnyx/acme",
        )
        assert (await door.ask(webhook())).status == (await door.ask(theirs)).status == 200
        assert door.bodies == [BODY, BODY]
