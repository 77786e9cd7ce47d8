"""No broker at all, or something that only listens: needs no Kafka, and must never hang."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kafka.scene import HASTY, new_topic, record, spec, stream
from tests.kafka_server import HOST, free_ports
from trunkline.errors import Misconfigured, StreamUnavailable
from trunkline.keys import DevelopmentKey
from trunkline.stream import Start
from trunkline.stream.kafka import KafkaStream


@pytest.fixture
async def mute() -> AsyncIterator[str]:
    """Accepts connections and never says a word, as a paused broker does."""
    gone = asyncio.Event()

    async def listen(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    server = await asyncio.start_server(listen, HOST, 0)
    yield f"kafka://{HOST}:{server.sockets[0].getsockname()[1]}"
    gone.set()
    server.close()
    await server.wait_closed()


async def everything_is_unavailable(kafka: KafkaStream, words: str) -> None:
    topic = new_topic()
    with pytest.raises(StreamUnavailable, match=words):
        await kafka.check()
    assert kafka.lane(record(topic, b"")) == -1
    results = await kafka.append([record(topic, b"1"), record(topic, b"2")])
    assert [type(result) for result in results] == [StreamUnavailable] * 2
    for attempt in (
        kafka.inspect([spec(topic)]),
        kafka.create([spec(topic)]),
        kafka.ends([topic]),
        kafka.subscribe([topic], Start.EARLIEST),
    ):
        with pytest.raises(StreamUnavailable):
            await attempt


async def test_without_a_broker_all_is_unavailable_and_the_reason_is_said() -> None:
    (port,) = free_ports(1)
    async with asyncio.timeout(20), stream(f"kafka://{HOST}:{port}", (), HASTY) as kafka:
        await everything_is_unavailable(kafka, rf"{HOST}:{port}.*Connect")


async def test_a_broker_that_never_answers_is_unavailable_within_bounds(mute: str) -> None:
    async with asyncio.timeout(20), stream(mute, (), HASTY) as kafka:
        await everything_is_unavailable(kafka, "not connected|no answer|closed")


async def test_a_wrong_url_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(Misconfigured, match="linger"):
        stream("kafka://h?linger_ms=1")


async def test_a_stream_that_was_never_started_can_be_closed() -> None:
    await stream("kafka://h").close()


@pytest.mark.parametrize("command", ["topics plan", "tail", "config check"])
async def test_a_command_without_a_log_says_why_in_our_words_only(
    command: str, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    settings = {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "TELNYX_PUBLIC_KEY": DevelopmentKey(b"k" * 32).public.text,
        "TRUNKLINE_STREAM": f"kafka://{HOST}:{port}",
        "TRUNKLINE_KAFKA_REQUEST_SECONDS": "0.2",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "trunkline", *command.split(),
        env=settings, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        _, said = await process.communicate()
    if command == "config check":
        assert (process.returncode, said) == (0, b"")
    else:
        assert process.returncode == 3
        assert said.count(b"\n") == 1, said
        assert said.startswith(b"trunkline: no broker answers: ")
        assert f"{HOST}:{port}".encode() in said
