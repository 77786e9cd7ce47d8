"""What every stream must do for a group that consumes it: one member, and what it left behind."""

import asyncio

import pytest

from tests.contract.members import joined
from tests.contract.words import Storage, append, until
from trunkline.errors import Fenced, StreamUnavailable, TopicMissing
from trunkline.stream import NOTE_BYTES_MAX, Mark


async def test_all_partitions_are_assigned_from_their_beginnings(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.spread(40))

    member = await joined(storage, stream, [storage.calls, storage.other])
    await member.read(40)

    assert member.told == ["assigned"]
    assert member.begins == dict.fromkeys(
        await stream.ends([storage.calls, storage.other]), Mark(0)
    )


async def test_nothing_is_told_before_the_first_fetch(storage: Storage) -> None:
    stream = await storage.open()

    member = await joined(storage, stream)

    assert member.told == []
    with pytest.raises(Fenced):
        await member.commit({(storage.calls, 0): Mark(1)})


async def test_a_group_resumes_exactly_at_its_marks_and_with_its_notes(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(10))
    member = await joined(storage, stream)
    third = (await member.read(5))[2]
    place, mark = (storage.calls, third.partition), Mark(third.offset + 1, "größer, später")
    await member.commit({place: mark})
    await member.close()
    await stream.close()

    again = await joined(storage, await storage.open())

    assert [got.value for got in await again.read(7)] == [b"%d" % n for n in range(3, 10)]
    assert again.begins[place] == mark
    assert {it for at, it in again.begins.items() if at != place} == {Mark(0)}


async def test_the_longest_note_comes_back(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(1))
    member = await joined(storage, stream)
    (got,) = await member.read(1)
    place, mark = (storage.calls, got.partition), Mark(got.offset, "n" * NOTE_BYTES_MAX)
    await member.commit({place: mark})
    with pytest.raises(AssertionError):
        await member.commit({place: Mark(got.offset, "n" * (NOTE_BYTES_MAX + 1))})
    await member.close()

    again = await joined(storage, stream)

    await again.read(1)
    assert again.begins[place] == mark


async def test_what_was_fetched_but_not_committed_comes_again(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(3))
    member = await joined(storage, stream)
    await member.read(3)
    await member.close()

    again = await joined(storage, stream)

    assert len(await again.read(3)) == 3


async def test_a_later_commit_takes_the_place_of_an_earlier_one_backwards_too(
    storage: Storage,
) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(3))
    member = await joined(storage, stream)
    (first, *_) = await member.read(3)
    place = storage.calls, first.partition
    for mark in (Mark(first.offset + 2, "two"), Mark(first.offset + 3), Mark(first.offset + 1)):
        await member.commit({place: mark})
    await member.close()

    again = await joined(storage, stream)

    assert [got.value for got in await again.read(2)] == [b"1", b"2"]
    assert again.begins[place] == Mark(first.offset + 1)


async def test_partitions_are_committed_each_for_itself_and_many_at_once(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.spread(64))
    member = await joined(storage, stream)
    found = await member.read(64)
    done = [got for got in found if got.partition != 0]
    ends = {(got.topic, got.partition): Mark(got.offset + 1) for got in done}
    await member.commit(ends)
    await member.close()

    again = await joined(storage, stream)

    left = await again.read(64 - len(done))
    assert {got.partition for got in left} == {0}
    assert await again.fetch(10, 0.05) == []


async def test_after_a_crash_the_group_resumes_from_its_last_commit(storage: Storage) -> None:
    stream, other = await storage.open(), await storage.open()
    await append(stream, storage.numbered(6))
    member = await joined(storage, stream)
    found = await member.read(6)
    place = storage.calls, found[0].partition
    await member.commit({place: Mark(found[1].offset + 1, "two done")})

    await storage.rig.crash(member.joined)
    again = await joined(storage, other)

    assert [got.value for got in await again.read(4)] == [b"2", b"3", b"4", b"5"]
    assert again.begins[place] == Mark(found[1].offset + 1, "two done")


async def test_two_groups_do_not_know_of_each_other(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(2))
    ahead = await joined(storage, stream, group="ahead")
    behind = await joined(storage, stream, group="behind")
    for got in await ahead.read(2):
        await ahead.commit({(got.topic, got.partition): Mark(got.offset + 1)})
    await ahead.close()

    assert len(await behind.read(2)) == 2
    again = await joined(storage, stream, group="ahead")
    assert await again.settled() == []


async def test_nothing_comes_of_held_partitions_and_all_of_it_when_they_are_released(
    storage: Storage,
) -> None:
    stream = await storage.open()
    await append(stream, storage.spread(64))
    member = await joined(storage, stream)
    await member.read(8)
    held = {(storage.calls, 0), (storage.calls, 2)}

    async def all_but_held() -> None:
        ends = await stream.ends([storage.calls])
        free = {place: end for place, (_, end) in ends.items() if place not in held}

        async def reached() -> bool:
            await member.fetch(100, 0.1, held)
            return all(member.handled.get(place) == end for place, end in free.items())

        await until(reached)
        assert await member.fetch(100, 0.1, held) == []

    await all_but_held()
    await append(stream, storage.spread(64))
    await all_but_held()
    before = len(member.seen)

    late = await member.read(128 - before)

    assert {(got.topic, got.partition) for got in late} == held
    assert len(set(member.seen)) == 128
    assert await member.fetch(100, 0.05) == []


async def test_with_everything_held_a_fetch_waits_in_vain_and_nothing_is_lost(
    storage: Storage,
) -> None:
    stream = await storage.open()
    member = await joined(storage, stream)
    assert await member.settled() == []
    held = list(member.marks)
    await append(stream, storage.spread(20))

    assert await member.fetch(100, 0.1, held) == []
    assert await member.fetch(100, 0, held) == []

    assert len(await member.read(20)) == 20


async def test_a_mark_below_what_is_kept_moves_up_and_loses_its_note(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(10))
    member = await joined(storage, stream)
    (first, *_) = await member.read(10)
    place = storage.calls, first.partition
    await member.commit({place: Mark(first.offset + 2, "of what is gone")})
    await member.close()
    await storage.rig.forget(place, 5)

    again = await joined(storage, stream)

    assert [got.value for got in await again.read(5)] == [b"%d" % n for n in range(5, 10)]
    assert again.begins[place] == Mark(5)


async def test_a_group_without_marks_begins_at_what_is_kept(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(4))
    place = storage.calls, (await storage.read_topic(stream, 1))[0].partition
    await storage.rig.forget(place, 3)

    member = await joined(storage, stream)

    assert [got.value for got in await member.read(1)] == [b"3"]
    assert member.begins[place] == Mark(3)


async def test_a_commit_for_a_partition_that_is_not_ours_is_fenced_and_notes_nothing(
    storage: Storage,
) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(1))
    member = await joined(storage, stream)
    (got,) = await member.read(1)
    place = storage.calls, got.partition

    with pytest.raises(Fenced):
        await member.commit({place: Mark(1), (storage.other, 0): Mark(1)})

    await member.close()
    again = await joined(storage, stream)
    assert len(await again.read(1)) == 1


async def test_who_has_left_commits_nothing_and_fetches_nothing(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(1))
    member = await joined(storage, stream)
    (got,) = await member.read(1)
    await member.close()
    await member.close()

    with pytest.raises(Fenced):
        await member.commit({(got.topic, got.partition): Mark(got.offset + 1)})
    with pytest.raises(StreamUnavailable):
        await member.fetch(1, 0)
    assert member.told == ["assigned"]


async def test_a_waiting_member_gets_what_another_stream_appends(storage: Storage) -> None:
    reader, writer = await storage.open(), await storage.open()
    member = await joined(storage, reader)
    assert await member.settled() == []

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(member.read(1))
        group.create_task(append(writer, storage.numbered(1)))

    assert [got.value for got in reading.result()] == [b"0"]


async def test_joining_for_a_missing_topic_says_so_and_leaves_the_group_free(
    storage: Storage,
) -> None:
    stream = await storage.open()

    with pytest.raises(TopicMissing, match=storage.absent):
        await joined(storage, stream, [storage.calls, storage.absent])

    await append(stream, storage.numbered(1))
    member = await joined(storage, stream)
    assert len(await member.read(1)) == 1


async def test_offsets_need_not_be_dense(shared_storage: Storage) -> None:
    storage = shared_storage
    stream = await storage.open()
    await append(stream, storage.numbered(2))
    first = (await storage.read_topic(stream, 1))[0]
    place = storage.calls, first.partition
    await storage.rig.gap(place)
    await append(stream, storage.numbered(1, start=2))
    await storage.rig.gap(place)
    member = await joined(storage, stream)

    found = await member.read(3)
    assert [(got.value, got.offset) for got in found] == [(b"0", 0), (b"1", 1), (b"2", 4)]
    assert await member.fetch(10, 0.05) == []
    await member.commit({place: Mark(3, "in a gap")})
    await member.close()

    again = await joined(storage, stream)
    assert [got.offset for got in await again.read(1)] == [4]
    assert again.begins[place] == Mark(3, "in a gap")


async def test_null_keys_and_values_of_foreign_producers_pass(shared_storage: Storage) -> None:
    storage = shared_storage
    stream = await storage.open()
    await storage.rig.foreign((storage.calls, 1), None, b"value")
    await storage.rig.foreign((storage.calls, 1), b"key", None)
    member = await joined(storage, stream)

    found = await member.read(2)

    assert [(got.key, got.value) for got in found] == [(None, b"value"), (b"key", None)]
