"""A group on a real broker when the library, the group or a process does what one would not."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewPartitions
from aiokafka.errors import GroupAuthorizationFailedError

from tests.contract.members import Noting
from tests.contract.words import until
from tests.kafka.scene import joined, new_topic, record, spec, stream
from tests.kafka_server import KafkaServer
from trunkline.errors import Fenced, StreamUnavailable
from trunkline.stream import Mark
from trunkline.stream.kafka import KafkaStream
from trunkline.stream.kafka_membership import LET_GO_SECONDS, KafkaMembership

pytestmark = pytest.mark.e2e


def inside(member: Noting) -> KafkaMembership:
    assert isinstance(member.joined, KafkaMembership)
    return member.joined


async def filled(kafka: KafkaStream, topic: str, count: int = 40, partitions: int = 4) -> None:
    await kafka.create([spec(topic, partitions=partitions)])
    values = [b"%d" % number for number in range(count)]
    assert await kafka.append([record(topic, it, it) for it in values]) == [None] * count


def having(member: Noting, count: int) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        await member.fetch(100, 0.2)
        return len(member.marks) == count

    return condition


async def test_nothing_is_delivered_before_the_marks_are_known(kafka_server: KafkaServer) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka:
        await filled(kafka, topic, 10, partitions=1)
        first = await joined(kafka, topic)
        await first.read(10)
        await first.commit({(topic, 0): Mark(7, "seven")})
        await first.close()
        member = await joined(kafka, topic)
        coordinator = inside(member)._consumer._coordinator
        fetching, gate = coordinator.fetch_committed_offsets, asyncio.Event()

        async def slowly(places: Any) -> Any:
            await gate.wait()
            return await fetching(places)

        coordinator.fetch_committed_offsets = slowly

        async def assigned() -> bool:
            assert await member.fetch(10, 0.1) == []
            return bool(inside(member)._consumer.assignment())

        await until(assigned)
        # By now the library alone would have begun to deliver from the committed offset.
        assert await member.fetch(10, 1.5) == []
        assert member.told == []
        gate.set()
        assert [it.offset for it in await member.read(3)] == [7, 8, 9]
        assert member.begins == {(topic, 0): Mark(7, "seven")}


async def test_a_member_the_group_gave_up_is_told_and_cannot_move_its_heirs_marks(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka, stream(kafka_server.url) as other:
        await filled(kafka, topic)
        zombie = await joined(kafka, topic)
        await zombie.read(40)
        mine = {place: Mark(1, "old") for place in zombie.marks}
        await zombie.commit(mine)
        # As a process paused for longer than its session: all goes on but its heartbeats.
        coordinator = inside(zombie)._consumer._coordinator
        coordinator._heartbeat_task.cancel()
        heir = await joined(other, topic)
        await until(having(heir, 4))
        assert heir.begins == mine
        await heir.read(40 - len(mine) - len(heir.seen))
        ends = {place: Mark(end) for place, (_, end) in (await kafka.ends([topic])).items()}
        await heir.commit(ends)

        with pytest.raises(Fenced):
            await zombie.commit(mine)
        # Only now has it heard: it loses what it had, and joins again beside its heir.
        await until(having(heir, 2))
        await until(having(zombie, 2))
        assert zombie.told == ["assigned", "lost", "assigned"]
        assert {**zombie.marks, **heir.marks} == ends


async def test_a_forgotten_member_commits_nothing_into_a_group_that_happens_to_be_empty(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka, stream(kafka_server.url) as other:
        await filled(kafka, topic)
        zombie = await joined(kafka, topic)
        await zombie.read(40)
        coordinator = inside(zombie)._consumer._coordinator
        coordinator._heartbeat_task.cancel()
        heir = await joined(other, topic)
        await until(having(heir, 4))
        ends = {place: Mark(end, "new") for place, (_, end) in (await kafka.ends([topic])).items()}
        await heir.commit(ends)
        await heir.close()
        # What a heartbeat does on hearing that the group does not know us.
        coordinator._coordination_task.cancel()
        coordinator.reset_generation()

        with pytest.raises(Fenced):
            await zombie.commit({(topic, 0): Mark(1)})

        await zombie.close()
        again = await joined(other, topic)
        await until(having(again, 4))
        assert again.begins == ends


async def test_who_does_not_let_go_in_time_loses_its_partitions_and_the_group_goes_on(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka, stream(kafka_server.url) as other:
        await filled(kafka, topic)
        slow = await joined(kafka, topic)
        await slow.read(40)
        slow.gate.clear()
        begun = time.monotonic()
        heir = await joined(other, topic)
        fetching = asyncio.create_task(slow.fetch(1, 3 * LET_GO_SECONDS))
        await until(having(heir, 2))
        took = time.monotonic() - begun
        # It did not have to be thrown out: it was there in time to have its share dealt anew.
        assert took >= LET_GO_SECONDS
        await fetching
        await until(having(slow, 2))
        assert slow.told == ["assigned", "revoked", "lost", "assigned"]


async def test_when_the_library_gives_up_fetch_says_so_after_the_member_was_told(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka:
        await filled(kafka, topic)
        member = await joined(kafka, topic)
        await member.read(40)
        held = list(member.marks)
        coordinator = inside(member)._consumer._coordinator
        coordinator._pending_exception = GroupAuthorizationFailedError(topic)

        with pytest.raises(StreamUnavailable, match="GroupAuthorizationFailed"):
            await member.fetch(10, 0.5, held)

        assert member.told == ["assigned", "lost"]
        with pytest.raises(Fenced):
            await member.commit({(topic, 0): Mark(1)})
        with pytest.raises(StreamUnavailable):
            await member.fetch(10, 0.5)
        await member.close()
        again = await joined(kafka, topic)
        assert len(await again.read(40)) == 40


async def test_a_mark_beyond_the_end_is_of_another_topic_and_begins_anew(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka:
        await filled(kafka, topic, 10, partitions=1)
        async with AIOKafkaConsumer(
            bootstrap_servers=kafka_server.bootstrap, group_id=topic, enable_auto_commit=False
        ) as tool:
            tool.assign([TopicPartition(topic, 0)])
            await tool.commit({TopicPartition(topic, 0): (1_000, "of a topic deleted since")})

        member = await joined(kafka, topic)

        assert len(await member.read(10)) == 10
        assert member.begins == {(topic, 0): Mark(0)}


async def test_a_mark_behind_a_transaction_under_way_stays(kafka_server: KafkaServer) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka:
        await filled(kafka, topic, 10, partitions=1)
        async with AIOKafkaProducer(
            bootstrap_servers=kafka_server.bootstrap, transactional_id=topic
        ) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"under way", partition=0)
            first = await joined(kafka, topic)
            await first.read(10)
            await first.commit({(topic, 0): Mark(11, "as a tool may set it")})
            await first.close()

            member = await joined(kafka, topic)
            await until(having(member, 1))

            assert member.begins == {(topic, 0): Mark(11, "as a tool may set it")}
            await producer.abort_transaction()


async def test_a_partition_that_starts_over_under_a_member_ends_the_membership(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka:
        await filled(kafka, topic, 10, partitions=1)
        member = await joined(kafka, topic)
        await member.read(10)
        # As the library does by itself where its position is beyond the end.
        inside(member)._consumer.seek(TopicPartition(topic, 0), 0)

        with pytest.raises(StreamUnavailable, match="made anew"):
            await member.read(1)

        assert member.told == ["assigned", "lost"]


async def test_while_everything_is_held_nothing_piles_up(kafka_server: KafkaServer) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka:
        await filled(kafka, topic, 0)
        member = await joined(kafka, topic)
        await until(having(member, 4))
        values = [b"%d" % number for number in range(40)]
        await kafka.append([record(topic, it, it) for it in values])

        for _ in range(3):
            assert await member.fetch(1, 0.3, list(member.marks)) == []

        # A poll from before may have brought one.
        assert len(inside(member)._poll._ready) <= 1
        assert len(await member.read(40)) == 40


async def test_new_partitions_are_dealt_out_too(kafka_server: KafkaServer) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka:
        await filled(kafka, topic, 10, partitions=1)
        member = await joined(kafka, topic)
        await member.read(10)
        async with kafka._admin._admin() as admin:
            await admin.start()
            await admin.create_partitions({topic: NewPartitions(3)})
        await inside(member)._consumer._client.force_metadata_update()

        await until(having(member, 3))

        assert member.told == ["assigned", "revoked", "assigned"]
        assert member.begins == {(topic, 0): Mark(10), (topic, 1): Mark(0), (topic, 2): Mark(0)}


async def test_consumers_of_one_process_do_not_claim_each_others_partitions(
    kafka_server: KafkaServer,
) -> None:
    topics = [new_topic(), new_topic()]
    async with stream(kafka_server.url) as kafka:
        members = []
        for topic in topics:
            await filled(kafka, topic)
            members.append(await joined(kafka, topic))
            await members[-1].read(40)
        claims = [
            inside(member)._consumer._coordinator._assignors[0].member_assignment
            for member in members
        ]
    for topic, claim in zip(topics, claims, strict=True):
        assert set(claim) == {TopicPartition(topic, partition) for partition in range(4)}


async def test_a_member_killed_by_the_system_is_replaced_after_its_session(
    kafka_server: KafkaServer,
) -> None:
    topic = new_topic()
    async with stream(kafka_server.url) as kafka:
        await filled(kafka, topic)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.kafka.consumer", kafka_server.url, topic),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout
        seen = 0
        try:
            async with asyncio.timeout(30):
                while seen < 40:
                    seen += (await process.stdout.readline()).startswith(b"seen")
                while (await process.stdout.readline()) != b"committed\n":
                    pass
        finally:
            process.kill()
            await process.wait()

        heir = await joined(kafka, topic)
        await until(having(heir, 4))

        assert {mark.note for mark in heir.begins.values()} == {"here"}
        assert await heir.fetch(10, 0.2) == []
