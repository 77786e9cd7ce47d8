"""`trunkline process publish` beside a real door: killed and stopped under load, and audited."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults.ground import Ground, answered, traffic, until
from tests.kafka_server import shared_server
from tests.lake.words import lines, on_disk
from tests.load.dump import dump_of
from tests.load.process import HOST, DoorProcess, free_port
from tests.load.sender import Sent

RATE = 150.0
PROCESS = ("-m", "trunkline", "process", "publish")


class Plant(Ground):
    """A door, and publishers of what it keeps."""

    def __init__(self, folder: Path, stream: str = "", prefix: str = "") -> None:
        super().__init__(
            folder,
            stream or f"sqlite:///{folder}/stream.db",
            {
                "TRUNKLINE_STORE": f"file:///{folder}/store",
                "TRUNKLINE_LAKE_CUT_SECONDS": "0.5",
                "TRUNKLINE_WORKER_LAG_INTERVAL_SECONDS": "0.5",
            },
            prefix,
        )

    def publisher(self) -> DoorProcess:
        return self.door(arguments=PROCESS)

    def audit(self, publisher: DoorProcess) -> tuple[int, dict[str, Any]]:
        done = self.run(publisher, "audit", "--json")
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def run(self, publisher: DoorProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "trunkline", *arguments],
            cwd=self.folder,
            env=publisher.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def unsettled(self, publisher: DoorProcess) -> int:
        """And at any time nothing that is settled is missing."""
        code, told = self.audit(publisher)
        assert code == 0, told["problems"]
        return sum(row["unsettled"] for row in told["partitions"])

    async def judge_lake(self, publisher: DoorProcess, log: list[Sent]) -> None:
        """Each event of the stream is in the lake once, with its own id and bytes."""
        await until(lambda: self.unsettled(publisher) == 0, "all settled", 60)
        deliveries = await dump_of(publisher.environment, self.folder)
        accepted = {sent.shot.digest for sent in log if sent.status == 200}
        assert len(deliveries) >= len(accepted) > 0
        found = [line for data in on_disk(self.folder / "store").values() for line in lines(data)]
        places = Counter((it["topic"], it["partition"], it["offset"]) for it in found)
        assert places == Counter((it.topic, it.partition, it.offset) for it in deliveries)
        events = {(it["topic"], it["partition"], it["offset"]): it for it in found}
        for delivery in deliveries:
            line = events[delivery.topic, delivery.partition, delivery.offset]
            assert line["id"] == dict(delivery.headers)["ce_id"].decode()
            if "raw_base64" not in line:
                assert line["event"] == json.loads(delivery.value or b"")


def settled(publisher: DoorProcess) -> float:
    return publisher.metrics()['trunkline_settled_total{outcome="done",processor="publish"}']


async def test_the_lake_holds_each_event_once_through_a_stop_and_a_start(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    publisher = plant.publisher()
    with plant.door() as door, publisher:
        async with traffic(door, plant.endless(), RATE) as sender:
            await until(lambda: settled(publisher) > 200, "some are published")
            assert publisher.ask("/livez")[0] == 200
            assert publisher.metrics()["trunkline_ready"] == 1
            lag = 'trunkline_lag_events{processor="publish",topic="telnyx.calls"}'
            await until(lambda: lag in publisher.metrics(), "lag is measured")
            assert await asyncio.to_thread(publisher.stop) == 0
            (stopped,) = [it for it in publisher.log_lines() if it["message"] == "publish stopped"]
            assert stopped["delivered"] == sum(
                int(str(stopped[it])) for it in ("settled", "in_flight", "abandoned")
            )
            assert stopped["in_flight"] == 0
            await asyncio.to_thread(publisher.start)
            await until(lambda: settled(publisher) > 200, "it goes on")
        await plant.judge_lake(publisher, sender.log)
        # Clean hand-overs repeat nothing: what one life settled the other never saw.
        total = float(str(stopped["settled"])) + settled(publisher)
        assert total == len(await dump_of(publisher.environment, tmp_path))


async def test_the_lake_holds_each_event_once_however_often_its_publisher_is_killed(
    tmp_path: Path,
) -> None:
    plant = Plant(tmp_path)
    publisher = plant.publisher()
    with plant.door() as door, publisher:
        async with traffic(door, plant.endless(), RATE) as sender:
            for _ in range(5):
                await until(lambda: settled(publisher) > 60, "it gets on")
                publisher.kill()
                await asyncio.to_thread(publisher.start)
        await plant.judge_lake(publisher, sender.log)


@pytest.mark.e2e
async def test_the_same_holds_on_kafka_with_a_publisher_killed_beside_others(
    tmp_path: Path,
) -> None:
    server = shared_server()
    plant = Plant(tmp_path, server.url, prefix=f"process-{free_port()}.")
    publishers = [plant.publisher() for _ in range(3)]
    one = publishers[0]
    applied = await asyncio.to_thread(plant.run, one, "topics", "apply")
    assert applied.returncode == 0, applied
    with plant.door() as door:
        for publisher in publishers:
            await asyncio.to_thread(publisher.start)
        try:
            async with traffic(door, plant.endless(), RATE) as sender:
                for publisher in publishers:
                    await answered(sender, 200, 300)
                    publisher.kill()
                    await asyncio.to_thread(publisher.start)
            await plant.judge_lake(one, sender.log)
        finally:
            codes = [await asyncio.to_thread(publisher.stop) for publisher in publishers]
    assert codes == [0, 0, 0]


def test_a_second_publisher_of_an_embedded_stream_is_turned_away(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    other = plant.publisher()
    with plant.publisher() as first:
        other.launch()
        assert other.wait() == 1
        assert f"group publish already has a consumer: process {first.pid}" in other.log
        assert "Traceback" not in other.log
        assert first.stop() == 0


def test_without_its_stream_it_lives_is_not_ready_and_stops_when_told(tmp_path: Path) -> None:
    plant = Plant(tmp_path, f"kafka://{HOST}:{free_port()}")
    publisher = plant.publisher()
    publisher.launch()
    try:
        deadline = time.monotonic() + 20
        while (answer := publisher.ask("/readyz"))[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert answer == (503, "publish has not joined its group yet\n")
        assert publisher.ask("/livez")[0] == 200
        assert publisher.metrics()["trunkline_ready"] == 0
    finally:
        assert publisher.stop() == 0


def test_a_store_that_cannot_be_opened_ends_it_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where a folder should be")
    publisher = Plant(tmp_path).publisher()
    publisher.launch()
    assert publisher.wait() == 3
    assert "trunkline: store: " in publisher.log
    assert "Traceback" not in publisher.log


def test_an_unknown_processor_is_a_usage_error_that_names_those_there_are(tmp_path: Path) -> None:
    publisher = Plant(tmp_path).door(arguments=("-m", "trunkline", "process", "publish", "nobody"))
    publisher.launch()
    assert publisher.wait() == 2
    assert "'nobody' is none of publish" in publisher.log
