"""What the stream and those around it do to a worker on real Kafka."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from tests.kafka_server import KafkaServer
from tests.load.process import DoorProcess
from tests.workerfaults.checker import longest_pause
from tests.workerfaults.journal import DONE, Event, count
from tests.workerfaults.site import PUBLISH, Site, all_killed, until
from tests.workerfaults.test_publish import exact, lake
from trunkline import topics

pytestmark = pytest.mark.e2e


@asynccontextmanager
async def outage(site: Site) -> AsyncIterator[None]:
    """The stream is away while the block runs, and members may not know who they are for a bit."""
    began = time.monotonic()
    try:
        yield
    finally:
        site.outages.append((began, time.monotonic() + 20))


async def test_a_broker_killed_and_restarted_costs_only_time(
    shared: Site, broker: KafkaServer
) -> None:
    pair = [shared.process() for _ in range(2)]
    with all_killed(*pair):
        await asyncio.gather(*(shared.restart(one) for one in pair))
        pids = [one.pid for one in pair]
        async with shared.fed(rate=150):
            for _ in range(2):
                await shared.begun(200)
                async with outage(shared):
                    broker.kill()
                    await asyncio.sleep(2)
                    broker.launch()  # by this thread: a broker dies with the one that started it
                    await asyncio.to_thread(broker.wait_ready)
                    await shared.begun(100)
            await shared.begun(200)
        await shared.settled()
        assert [one.pid for one in pair] == pids
        assert [one.stop() for one in pair] == [0, 0]
    note = f"longest pause {longest_pause(shared.runs()):.1f} s"
    summary = await shared.judge("kafka: broker killed and restarted x2", note)
    assert summary.dead == 0


async def test_a_broker_that_stands_still_for_30_seconds_costs_only_time(
    shared: Site, broker: KafkaServer
) -> None:
    pair = [shared.process() for _ in range(2)]
    publisher = shared.process(PUBLISH)
    with all_killed(*pair, publisher):
        await asyncio.gather(*(shared.restart(one) for one in [*pair, publisher]))
        async with shared.fed(rate=150):
            await shared.begun(200)
            async with outage(shared):
                broker.pause()
                try:
                    await asyncio.sleep(30)
                    assert all(one.running for one in pair)
                    assert [one.ask("/livez")[0] for one in pair] == [200, 200]
                finally:
                    broker.resume()
                resumed = time.monotonic()
                await shared.begun(100)
                back = time.monotonic() - resumed
            await shared.begun(300)
        await shared.settled()
        await shared.settled("publish")
        assert [one.stop() for one in [*pair, publisher]] == [0, 0, 0]
    summary = await shared.judge("kafka: broker paused 30 s", f"at work again {back:.1f} s after")
    assert summary.dead == 0
    await exact(shared, "kafka: publish, broker paused 30 s")


async def move(site: Site, group: str, places: Mapping[tuple[str, int], int], note: str) -> None:
    """As `kafka-consumer-groups --reset-offsets`, which writes a note of its own: none."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=site.url.removeprefix("kafka://"),
        group_id=group,
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        at = {TopicPartition(*place): OffsetAndMetadata(n, note) for place, n in places.items()}
        consumer.assign(list(at))
        await consumer.commit(at)
    finally:
        await consumer.stop()


async def test_offsets_reset_by_a_tool_are_followed(shared: Site) -> None:
    process = shared.process()
    with all_killed(process):
        await shared.put([{"key": f"k-{n % 40}"} for n in range(600)])
        await shared.restart(process)
        await shared.settled()
        assert process.stop() == 0
        ends = {place: end for place, (_, end) in (await shared.ends()).items()}
        back = {place: end // 2 for place, end in ends.items()}
        again = {(*place, n) for place, end in ends.items() for n in range(back[place], end)}
        await move(shared, shared.group, back, "")
        before = count(shared.journal)
        await shared.restart(process)
        await shared.settled()
        assert process.stop() == 0
        assert count(shared.journal) - before == len(again)
        await shared.put([{"key": f"k-{n % 40}"} for n in range(400)])
        skipped = await _skip(shared, ends, 10, "who knows")
        await shared.restart(process)
        await shared.settled()
        assert process.stop() == 0
    assert not skipped & {run.event for run in shared.runs()}
    await shared.judge("kafka: offsets reset back and forth", reset=again, skipped=skipped)


async def _skip(
    site: Site, marks: Mapping[tuple[str, int], int], most: int, note: str
) -> set[Event]:
    ends = await site.ends()
    ahead = {place: min(mark + most, ends[place][1]) for place, mark in marks.items()}
    await move(site, site.group, ahead, note)
    return {(*place, n) for place, mark in marks.items() for n in range(mark, ahead[place])}


async def test_publish_follows_resets_and_publishes_nothing_twice(shared: Site) -> None:
    process = shared.process(PUBLISH)
    names = [shared.topic]
    with all_killed(process):
        await shared.put([{"key": f"k-{n % 40}"} for n in range(600)])
        await shared.restart(process)
        await shared.settled("publish", *names)
        assert process.stop() == 0
        ends = {place: end for place, (_, end) in (await shared.ends()).items()}
        for target in (0.5, 0.0, 0.9):
            await move(shared, "publish", {at: int(end * target) for at, end in ends.items()}, "")
            await shared.restart(process)
            await shared.settled("publish", *names)
            assert process.stop() == 0
        await exact(shared, "kafka: publish, reset back x3")
        await shared.put([{"key": f"k-{n % 40}"} for n in range(400)])
        skipping = {at: end + 10 for at, end in ends.items()}
        await move(shared, "publish", skipping, "")
        await shared.restart(process)
        await shared.settled("publish", *names)
        found = lake(shared)
        assert all((*at, end) not in found for at, end in ends.items()), "skipped is skipped"
        assert process.stop() == 0
        await move(shared, "publish", ends, "")  # and the operator changes his mind
        await shared.restart(process)
        await shared.settled("publish", *names)
        assert process.stop() == 0
    await exact(shared, "kafka: publish, reset forwards, then back over the hole")


async def test_a_reset_beyond_the_end_crashes_nothing(shared: Site) -> None:
    process = shared.process(PUBLISH)
    with all_killed(process):
        await shared.put([{"key": f"k-{n % 40}"} for n in range(300)])
        await shared.restart(process)
        await shared.settled("publish")
        assert process.stop() == 0
        far = {place: end + 1_000_000 for place, (_, end) in (await shared.ends()).items()}
        await move(shared, "publish", far, "")
        await shared.restart(process)
        await shared.put([{"key": f"k-{n % 40}"} for n in range(300)])
        await shared.settled("publish")
        assert process.stop() == 0
    await exact(shared, "kafka: publish, reset far beyond the end")


async def test_a_missing_dead_topic_stops_its_partition_and_loses_nothing(shared: Site) -> None:
    process = shared.process(TRUNKLINE_WORKER_RETRY_ATTEMPTS_MAX="2")
    admin = AIOKafkaAdminClient(bootstrap_servers=shared.url.removeprefix("kafka://"))
    await admin.start()
    with all_killed(process):
        await admin.delete_topics([shared.dead_topic])
        await admin.close()
        await shared.restart(process)
        await shared.put([{"key": "bad", "do": "raise"}, *({"key": f"k-{n}"} for n in range(60))])
        (bad,) = [it for it in await shared.stored() if it.key == b"bad"]

        async def only_its_place_waits() -> bool:
            return set(await shared.behind()) == {(bad.topic, bad.partition)}

        await until(only_its_place_waits, "all other partitions are settled")
        await asyncio.sleep(3)
        assert process.running
        assert process.ask("/livez")[0] == 200
        assert set(await shared.behind()) == {(bad.topic, bad.partition)}
        await shared.stream.create(topics.specs(shared.settings.topics))
        await shared.settled()
        assert process.stop() == 0
    assert set(await shared.dead()) == {(bad.topic, bad.partition, bad.offset)}
    await shared.judge("kafka: no dead topic for a while")


@pytest.mark.parametrize(
    "seconds",
    [
        3,
        pytest.param(
            9,
            marks=pytest.mark.xfail(
                strict=True, reason="put out of the group each time, its end is never heard"
            ),
        ),
    ],
)
async def test_a_handler_that_blocks_the_loop_costs_only_time(shared: Site, seconds: int) -> None:
    """The group waits for six seconds."""
    pair = [shared.process() for _ in range(2)]
    with all_killed(*pair):
        await asyncio.gather(*(shared.restart(one) for one in pair))
        async with shared.fed(rate=100), outage(shared):
            await shared.begun(100)
            await shared.put([{"key": "bad", "do": "block", "ms": seconds * 1_000}])
            await shared.begun(100 * seconds, seconds=20)
        await shared.settled(seconds=20)
        assert [one.stop() for one in pair] == [0, 0]
    await shared.judge(f"kafka: a handler blocks the loop for {seconds} s", abandoning=True)


async def test_a_process_killed_by_its_event_takes_no_other_along(shared: Site) -> None:
    crew = [shared.process() for _ in range(2)]
    with all_killed(*crew):
        await asyncio.gather(*(shared.restart(one) for one in crew))
        await shared.put([{"key": "bad", "do": "kill"}])
        (bad,) = [it for it in await shared.stored() if it.key == b"bad"]
        event = bad.topic, bad.partition, bad.offset
        async with shared.fed(rate=50):
            for _ in range(3):
                await _struck(shared, crew)
        assert not await shared.dead(), "what kills ends in dead now: this test can say more"
        for one in crew:
            if one.running:
                shared.kill(one)
    behind = await shared.behind()
    assert event[:2] in behind, "its mark must not have passed it"
    unsettled = [
        (it.topic, it.partition, it.offset)
        for it in await shared.stored()
        if (it.topic, it.partition) in behind
    ]
    finished = {run.event for run in shared.runs() if run.how == DONE}
    assert len(finished) > 200, "all others went on"
    kills = len(shared.deaths)
    await shared.judge(f"kafka: an event kills its process x{kills}", unsettled=unsettled)


async def _struck(site: Site, crew: Sequence[DoorProcess]) -> None:
    async def one_died() -> bool:
        return not all(one.running for one in crew)

    await until(one_died, "the event strikes", 40)
    for one in crew:
        if not one.running:
            site.deaths[one.pid] = time.monotonic()
            one.launch()
