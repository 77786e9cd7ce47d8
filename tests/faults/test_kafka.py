"""Faults against a real door process on real Apache Kafka; each ends before the judge."""

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.faults import scenarios
from tests.faults.ground import Ground, answered, traffic, until
from tests.kafka.scene import alter
from tests.kafka_server import KafkaCluster, KafkaServer
from tests.load.process import HOST, DoorProcess
from tests.load.sender import Sender
from tests.load.webhooks import Mix

pytestmark = pytest.mark.e2e

HONEST = Mix(sessions=40)
CALLS_ONLY = Mix(kinds=("call.initiated",), sessions=40)

# Small and quick to notice, for one machine; what matters here is what the door makes of it.
BROKER = {"offsets.topic.replication.factor": "1", "auto.create.topics.enable": "false"}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    with KafkaServer(tmp_path_factory.mktemp("kafka"), properties=BROKER) as server:
        yield server


_prefixes = (f"t{number}." for number in itertools.count())


@pytest.fixture
def ground(tmp_path: Path, broker: KafkaServer) -> Ground:
    """Topics of its own on the common broker."""
    made = Ground(tmp_path, broker.url, prefix=next(_prefixes))
    topics(made.door(), "apply")
    return made


async def restarted(server: KafkaServer) -> None:
    # Launched by this thread: a broker dies with the thread that started it.
    server.launch()
    await asyncio.to_thread(server.wait_ready)


def topics(door: DoorProcess, action: str, environment: Mapping[str, str] | None = None) -> None:
    """`trunkline topics`, as an operator runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "trunkline", "topics", action],
        env={**door.environment, **(environment or {})},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_every_200_survives_kill_9_again_and_again(ground: Ground) -> None:
    await scenarios.killed_under_load(ground, rounds=5, rate=400, name="kafka")


async def test_sigterm_under_load_loses_and_refuses_nothing(ground: Ground) -> None:
    await scenarios.terminated_under_load(ground, 300, "kafka")


async def test_a_burst_of_a_hundred_times_the_usual_is_answered(ground: Ground) -> None:
    await scenarios.burst(ground, "kafka")


async def test_a_killed_worker_is_replaced_and_takes_nothing_along(ground: Ground) -> None:
    await scenarios.worker_killed(ground, "kafka")


async def test_a_broker_killed_and_restarted_costs_only_503s(
    ground: Ground, broker: KafkaServer
) -> None:
    with ground.door() as door:
        async with traffic(door, ground.endless(), 150) as sender:
            for _ in range(2):
                await answered(sender, 200, 100)
                broker.kill()
                await answered(sender, 503, 100)
                await until(lambda: not door.ready(), "readiness off")
                assert door.ask("/livez")[0] == 200
                await restarted(broker)
                await until(door.ready, "readiness back", 60)
                await answered(sender, 200, 100, 60)
        metrics = door.metrics()
        summary = await ground.judge("kafka: broker killed x2", sender.log, door, metrics)
    assert summary.unanswered == 0, "whatever the stream does, each is answered"


async def test_a_broker_that_stands_still_for_30_seconds_costs_only_503s(
    ground: Ground, broker: KafkaServer
) -> None:
    with ground.door() as door:
        async with traffic(door, ground.endless(Mix(body_bytes=20_000)), 150) as sender:
            await answered(sender, 200, 300)
            before = door.rss_bytes()
            broker.pause()
            try:
                await answered(sender, 503, 100)
                await until(lambda: not door.ready(), "readiness off")
                await asyncio.sleep(25)
                assert door.metrics()["trunkline_ingest_held_bytes"] < 32 * 1024 * 1024
                grown = door.rss_bytes() - before
            finally:
                broker.resume()
            await until(door.ready, "readiness back", 60)
            await answered(sender, 200, 300, 60)
        metrics = door.metrics()
        name = f"kafka: broker paused 30 s ({grown / 1e6:.0f} MB more)"
        summary = await ground.judge(name, sender.log, door, metrics)
    assert summary.unanswered == 0, "whatever the stream does, each is answered"
    assert summary.unavailable > 2_000
    assert grown < 64e6


async def test_a_door_leaves_when_told_though_its_broker_stands_still(
    ground: Ground, broker: KafkaServer
) -> None:
    with ground.door() as door:
        async with traffic(door, ground.endless(HONEST), 100) as sender:
            await answered(sender, 200, 50)
            broker.pause()
            try:
                await answered(sender, 503, 20)
                door.terminate()
                await until(lambda: not door.ready(), "readiness off")
                await answered(sender, 503, 20)  # it still answers whoever has not noticed
                sender.stop()
                code = await asyncio.to_thread(door.wait, 40)
            finally:
                broker.resume()
        await ground.judge("kafka: SIGTERM while the broker is paused", sender.log, door)
    assert code == 0, door.log[-3000:]


async def test_a_door_may_start_before_its_broker(ground: Ground, broker: KafkaServer) -> None:
    broker.kill()
    door = ground.door()
    door.launch()
    try:
        await until(lambda: door.ask("/readyz")[0] == 503, "an answer")
        async with traffic(door, ground.endless(HONEST), 100) as sender:
            await answered(sender, 503, 20)
            await restarted(broker)
            await until(door.ready, "readiness", 60)
            await answered(sender, 200, 50, 60)
        log = sender.log
        await ground.judge("kafka: started before its broker", log, door, door.metrics())
    finally:
        door.kill()


async def test_missing_topics_are_named_and_found_when_they_come(
    tmp_path: Path, broker: KafkaServer
) -> None:
    ground = Ground(tmp_path, broker.url, prefix=next(_prefixes))
    door = ground.door()
    door.launch()
    try:
        await until(lambda: door.ask("/readyz")[0] == 503, "an answer")
        async with traffic(door, ground.endless(HONEST), 100) as sender:
            await answered(sender, 503, 50)
            status, text = door.ask("/readyz")
            assert status == 503
            assert "telnyx.calls" in text
            await asyncio.to_thread(topics, door, "apply")
            await until(door.ready, "readiness", 60)
            await answered(sender, 200, 100, 60)
        await ground.judge("kafka: topics missing, then created", sender.log, door, door.metrics())
    finally:
        door.kill()


async def test_records_too_large_for_their_topic_cost_nobody_else_anything(ground: Ground) -> None:
    """A topic that takes less than ours should: `topics plan` names it, the door lives with it."""
    topic = f"{ground.prefix}telnyx.calls"
    await alter(ground.stream, topic, {"max.message.bytes": "50000"})
    with ground.door() as door:
        large = ground.shots(40, Mix(kinds=("call.initiated",), body_bytes=200_000))
        mixed = ground.shots(2_000, CALLS_ONLY)
        for number, shot in enumerate(large):
            mixed.insert(51 * number + 25, shot)
        sender = Sender(HOST, door.port, connections=256)
        await sender.run(mixed, 200)
        await sender.close()
        ids = {shot.id for shot in large}
        too_large = [sent.status for sent in sender.log if sent.shot.id in ids]
        others = [sent.status for sent in sender.log if sent.shot.id not in ids]
        await ground.judge("kafka: 40 records too large", sender.log, door, door.metrics())
        errors = [str(line["message"]) for line in door.log_lines() if line["level"] == "error"]
    assert too_large == [503] * 40, "never a 200 for what was not kept"
    assert others == [200] * 2_000
    complaints = [message for message in errors if "can never take" in message]
    assert complaints
    assert all(f"{topic} takes 50000 bytes" in message for message in complaints)
    assert not any("not ready" in message for message in errors), "the stream was there throughout"


async def test_too_few_replicas_cost_only_503s(tmp_path: Path) -> None:
    replicated = {"offsets.topic.replication.factor": "3", "auto.create.topics.enable": "false"}
    settings = {"TRUNKLINE_TOPICS_REPLICAS": "3", "TRUNKLINE_TOPICS_IN_SYNC_REPLICAS_MIN": "2"}
    with KafkaCluster(tmp_path / "kafka", properties=replicated) as cluster:
        ground = Ground(tmp_path, cluster.url, settings)
        topics(ground.door(), "apply")
        with ground.door() as door:
            async with traffic(door, ground.endless(), 100) as sender:
                await answered(sender, 200, 100)
                cluster.servers[1].kill()  # two of three are enough
                await answered(sender, 200, 200, 60)
                cluster.servers[2].kill()
                await answered(sender, 503, 100, 60)
                await restarted(cluster.servers[1])
                await restarted(cluster.servers[2])
                await until(door.ready, "readiness back", 60)
                await answered(sender, 200, 200, 60)
            metrics = door.metrics()
            summary = await ground.judge(
                "kafka: two of three brokers killed", sender.log, door, metrics
            )
        assert summary.unanswered == 0
