"""One broker killed, restarted, paused, absent, or protected by a password."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.contract.members import Noting
from tests.kafka.scene import (
    Writer,
    dump,
    joined,
    new_topic,
    record,
    spec,
    stream,
    until,
    until_unavailable,
)
from tests.kafka_server import HOST, KafkaServer, free_ports
from trunkline.errors import StreamUnavailable
from trunkline.stream import Delivery, Mark, Start, kafka_supervisor
from trunkline.stream.kafka import KafkaStream
from trunkline.stream.kafka_consumer import SESSION_MS

pytestmark = pytest.mark.e2e
PAUSE_SECONDS = 30


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaServer]:
    with KafkaServer(tmp_path / "kafka") as server:
        yield server


async def test_what_was_acked_survives_a_broker_killed_again_and_again(
    broker: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(broker.url, [topic]) as kafka:
        await kafka.create([spec(topic)])
        writer = Writer(kafka, topic)
        running = asyncio.create_task(writer.run())
        for count in (2_000, 300, 1_000):
            await writer.more(count, 20)
            broker.kill()
            reason = await until_unavailable(10, kafka)
            assert broker.bootstrap in str(reason) or "taken nothing" in str(reason)
            await asyncio.to_thread(broker.restart)
        await writer.more(200, 20)
        await until(5, kafka.check)
        writer.stop()
        await running
        values = [it.value for it in await dump(kafka, topic)]
    assert writer.acked <= set(values)
    # The producer numbers its batches, so even what was sent twice is there once.
    assert len(values) == len(set(values))


async def test_appends_wait_for_a_paused_broker_and_all_land(broker: KafkaServer) -> None:
    topic = new_topic()
    async with stream(broker.url, [topic]) as kafka:
        await kafka.create([spec(topic)])
        assert await kafka.append([record(topic, b"before")]) == [None]
        broker.pause()
        try:
            appending = asyncio.create_task(kafka.append([record(topic, b"meanwhile")]))
            async with asyncio.timeout(2 * 2.0 + 5):
                with pytest.raises(StreamUnavailable, match=r"no answer|taken nothing|answers"):
                    await kafka.check()
            done, _ = await asyncio.wait({appending}, timeout=PAUSE_SECONDS)
            assert not done, "nothing can have acked this"
            with pytest.raises(StreamUnavailable):
                await kafka.check()
        finally:
            broker.resume()
        async with asyncio.timeout(15):
            assert await appending == [None]
        await until(10, kafka.check)
        assert await kafka.append([record(topic, b"after")]) == [None]
        values = [it.value for it in await dump(kafka, topic)]
    assert values == [b"before", b"meanwhile", b"after"]


async def test_an_append_that_waits_for_ever_is_given_up_and_the_producer_replaced(
    broker: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_supervisor, "APPEND_SECONDS_MAX", 3.0)
    topic = new_topic()
    async with stream(broker.url, [topic]) as kafka:
        await kafka.create([spec(topic)])
        assert await kafka.append([record(topic, b"before")]) == [None]
        broker.pause()
        try:
            async with asyncio.timeout(20):
                (result,) = await kafka.append([record(topic, b"given up, may land")])
            assert isinstance(result, StreamUnavailable)
            assert "no answer in 3 s" in str(result)
        finally:
            broker.resume()

        async def appended() -> None:
            (result,) = await kafka.append([record(topic, b"after")])
            if result is not None:
                raise result

        await until(20, appended)
        await until(5, kafka.check)
        values = [it.value for it in await dump(kafka, topic)]
    assert values[0] == b"before"
    assert values[-1] == b"after"


@pytest.mark.parametrize("fault", ["killed", "paused"])
async def test_a_group_goes_on_from_its_marks_after_its_broker_was_away(
    broker: KafkaServer, fault: str
) -> None:
    topic = new_topic()
    async with stream(broker.url, [topic]) as kafka:
        await kafka.create([spec(topic)])
        numbers = [b"%d" % number for number in range(60)]
        assert set(await kafka.append([record(topic, it, it) for it in numbers[:40]])) == {None}
        member = await joined(kafka, topic)
        await member.read(40)
        await member.commit({place: Mark(end) for place, end in member.handled.items()})
        if fault == "killed":
            broker.kill()
            with pytest.raises(StreamUnavailable):
                await member.commit({place: Mark(end) for place, end in member.handled.items()})
            await asyncio.to_thread(broker.restart)
        else:
            broker.pause()
            try:
                # Longer than a session: the broker comes back believing that we died.
                assert await member.fetch(10, SESSION_MS / 1000 + 2) == []
            finally:
                broker.resume()

        async def appended() -> None:
            results = await kafka.append([record(topic, it, it) for it in numbers[40:]])
            if set(results) != {None}:
                raise StreamUnavailable

        await until(20, appended)
        seen = {it.value for it in await consumed(kafka, topic, member, 20)}
        assert seen == set(numbers[40:])


async def consumed(kafka: KafkaStream, topic: str, member: Noting, count: int) -> list[Delivery]:
    """The next deliveries, by a member that joins again where its membership ends."""
    found: list[Delivery] = []

    async def more() -> None:
        nonlocal member
        try:
            found.extend(await member.fetch(100, 0.5))
        except StreamUnavailable:
            await member.close()
            member = await joined(kafka, topic)
            raise
        if len({it.value for it in found}) < count:
            raise StreamUnavailable

    await until(30, more)
    await member.close()
    return found


async def test_closing_while_a_broker_is_paused_is_bounded(broker: KafkaServer) -> None:
    topic = new_topic()
    kafka = stream(broker.url, [topic])
    await kafka.start()
    await kafka.create([spec(topic)])
    assert await kafka.append([record(topic, b"before")]) == [None]
    member = await joined(kafka, topic)
    (delivery,) = await member.read(1)
    broker.pause()
    try:
        appending = asyncio.create_task(kafka.append([record(topic, b"lost")]))
        async with asyncio.timeout(10):
            with pytest.raises(StreamUnavailable):
                await member.commit({(topic, delivery.partition): Mark(delivery.offset + 1)})
        async with asyncio.timeout(15):
            await kafka.close()
        (result,) = await appending
        assert isinstance(result, StreamUnavailable)
    finally:
        broker.resume()


async def test_a_stream_started_before_its_broker_connects_when_it_comes(tmp_path: Path) -> None:
    server = KafkaServer(tmp_path / "kafka")
    topic = new_topic()
    async with asyncio.timeout(60):
        async with stream(server.url, [topic]) as kafka:
            with pytest.raises(StreamUnavailable, match=server.bootstrap):
                await kafka.check()
            (result,) = await kafka.append([record(topic, b"early")])
            assert type(result) is StreamUnavailable
            assert server.bootstrap in str(result)
            with pytest.raises(StreamUnavailable):
                await kafka.subscribe([topic], Start.EARLIEST)
            with server:
                await until(10, lambda: kafka.create([spec(topic)]))
                await until(10, kafka.check)
                assert await kafka.append([record(topic, b"now")]) == [None]


class Secured:
    """A broker whose only other door wants TLS and a SCRAM login; its certificate is self-made."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.authority = directory / "cert.pem"
        key = directory / "key.pem"
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
        names = ["-addext", f"subjectAltName=IP:{HOST},DNS:localhost"]
        subprocess.run(
            [*command.split(), *names, "-keyout", str(key), "-out", str(self.authority)],
            check=True,
            capture_output=True,
        )
        # Java's PEM store is one file: the key, then the certificate.
        pair = directory / "pair.pem"
        pair.write_text(key.read_text() + self.authority.read_text())
        plain, controller, self.port = free_ports(3)
        listeners = f"PLAINTEXT://{HOST}:{plain},SASL_SSL://{HOST}:{self.port}"
        self.server = KafkaServer(
            directory / "kafka",
            ports=(plain, controller),
            user="alice:s3cret&=",
            properties={
                "listeners": f"{listeners},CONTROLLER://{HOST}:{controller}",
                "advertised.listeners": listeners,
                "sasl.enabled.mechanisms": "SCRAM-SHA-512",
                "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                ),
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(pair),
            },
        )

    def url(self, password: str, authority: Path | None) -> str:
        options = {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": "alice",
            "sasl_plain_password": password,
        }
        if authority is not None:
            options["ssl_cafile"] = str(authority)
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
        return f"kafka://{HOST}:{self.port}?{query}"


async def test_tls_and_a_password_are_used_and_what_is_wrong_with_them_is_said(
    tmp_path: Path,
) -> None:
    secured = Secured(tmp_path / "secured")
    topic = new_topic()
    with secured.server:
        async with stream(secured.url("s3cret&=", secured.authority), [topic]) as kafka:
            await kafka.create([spec(topic)])
            assert await kafka.append([record(topic, b"secret")]) == [None]
            await kafka.check()
            subscription = await kafka.subscribe([topic], Start.EARLIEST)
            assert [it.value for it in await subscription.fetch(1, 5)] == [b"secret"]
            member = await joined(kafka, topic)
            assert [it.value for it in await member.read(1)] == [b"secret"]
        for url, word in [
            (secured.url("guess", secured.authority), "SaslAuthenticationFailed"),
            (secured.url("s3cret&=", None), "certificate verify failed"),
            (f"kafka://{HOST}:{secured.port}", str(secured.port)),
        ]:
            async with stream(url, [topic]) as kafka:
                with pytest.raises(StreamUnavailable, match=word) as caught:
                    await kafka.check()
                assert "guess" not in str(caught.value)
