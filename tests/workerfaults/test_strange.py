"""Records that no door of ours wrote: the worker moves on, publish publishes them."""

import os
import subprocess
import sys
import time

import pytest
from aiokafka import AIOKafkaProducer

from tests.load.process import ROOT
from tests.workerfaults.site import PUBLISH, Site, all_killed
from tests.workerfaults.test_publish import exact

pytestmark = pytest.mark.e2e

HEADERS: tuple[list[tuple[str, bytes]], ...] = (
    [],
    [("ce_type", b"\xff\xfe\x00"), ("ce_id", b"\x80")],
    [("ce_type", b"one"), ("ce_type", b"two"), ("ce_id", b"1"), ("ce_id", b"2")],
    [("", b""), ("ce_type", b""), ("ce_id", b"")],
    [("ce_type", b"../../etc/passwd"), ("tl-received-at", b"9999-99-99T99:99:99.999Z")],
    [("ce_type", b"x" * 5_000), ("tl-received-at", b"2026-02-30T00:00:00.000Z")],
    [("tl-dead-topic", b"nowhere"), ("tl-dead-offset", b"many")],
    [("ce_type", b"\0"), (chr(0x1F4DE), b"a name beyond ASCII")],
    [(f"h{number}", b"v" * 50) for number in range(2_000)],
)
BODIES = (
    None,
    b"",
    b"\0" * 10,
    b"[" * 5_000,
    b'{"a":1,"a":2}',
    b'{"do":"slow"',
    b"NaN",
    b'{"n":1e999}',
    b"\xef\xbb\xbf{}",
    b"{\r\n}",
)


@pytest.fixture
async def strange(shared: Site) -> Site:
    async with AIOKafkaProducer(
        bootstrap_servers=shared.url.removeprefix("kafka://"), max_request_size=2_200_000
    ) as producer:

        async def send(**record: object) -> None:
            await producer.send_and_wait(shared.topic, partition=1, **record)

        await send(key=b"large", value=b'{"x":"' + b"x" * 2_090_000 + b'"}')
        nothing = producer.create_batch()
        nothing.append(key=None, value=None, timestamp=None)
        await (await producer.send_batch(nothing, shared.topic, partition=1))
        await send(key=None, value=b"{}")
        await send(key=b"null", value=None)
        await send(key=b"\xff" * 200, value=b"{}")
        for headers in HEADERS:
            await send(key=b"h", value=b"{}", headers=headers)
        for body in BODIES:
            await send(key=b"b", value=body)
        for ms in (0, 1, int(time.time() * 1_000) + 3_000_000):  # the broker takes an hour ahead
            await send(key=b"t", value=b"{}", timestamp_ms=ms)
    await shared.put([{"key": f"k-{n}"} for n in range(40)])
    return shared


async def test_strange_records_stop_nobody(strange: Site) -> None:
    process, publisher = strange.process(), strange.process(PUBLISH)
    with all_killed(process, publisher):
        await strange.restart(process)
        await strange.restart(publisher)
        await strange.settled()
        await strange.settled("publish")
        assert process.stop() == 0
        assert publisher.stop() == 0
    await strange.judge("kafka: strange records")
    await exact(strange, "kafka: publish, strange records")


@pytest.mark.xfail(strict=True, reason="aiokafka refuses to read such a record, and all behind it")
async def test_a_header_name_that_is_not_utf_8_stops_nobody(shared: Site) -> None:
    await shared.put([{"key": f"k-{n}"} for n in range(40)])
    foreign(shared.url.removeprefix("kafka://"), shared.topic)
    await shared.put([{"key": f"k-{n}"} for n in range(40)])
    process = shared.process()
    with all_killed(process):
        process.launch()
        await shared.begun(81, since=0, seconds=8)


def foreign(bootstrap: str, topic: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.workerfaults.foreign", bootstrap, topic, "1"],
        env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1", "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    if done.returncode:
        pytest.exit(f"the foreign producer does not work: {done.stderr}")
