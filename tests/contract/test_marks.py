"""What every stream must tell of a group's marks to somebody who does not join it."""

import pytest

from tests.contract.members import joined
from tests.contract.words import Storage, append
from trunkline.errors import TopicMissing
from trunkline.stream import Mark


async def test_marks_are_read_as_they_were_committed_while_the_group_goes_on(
    storage: Storage,
) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(5))
    member = await joined(storage, stream)
    got = (await member.read(5))[2]
    place, mark = (storage.calls, got.partition), Mark(got.offset, "größer, später")
    await member.commit({place: mark})

    watching = await storage.open()

    assert await watching.marks([storage.calls, storage.other], storage.group) == {place: mark}
    assert await watching.marks([storage.other], storage.group) == {}
    await member.commit({place: Mark(got.offset + 1)})
    assert await watching.marks([storage.calls], storage.group) == {place: Mark(got.offset + 1)}


async def test_a_group_nobody_has_heard_of_has_no_marks(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(1))
    assert await stream.marks([storage.calls], storage.group) == {}


async def test_a_mark_that_retention_has_passed_is_told_as_it_is(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(5))
    member = await joined(storage, stream)
    first = (await member.read(5))[0]
    place = storage.calls, first.partition
    await member.commit({place: Mark(1)})
    await storage.rig.forget(place, 3)
    assert await stream.marks([storage.calls], storage.group) == {place: Mark(1)}
    assert (await stream.ends([storage.calls]))[place] == (3, 5)


async def test_marks_of_a_topic_that_is_missing_are_refused(storage: Storage) -> None:
    stream = await storage.open()
    with pytest.raises(TopicMissing):
        await stream.marks([storage.absent], storage.group)
