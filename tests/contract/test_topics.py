"""What every stream must do with its topics."""

from dataclasses import replace

from tests.contract.words import Storage, append, spec


async def test_ends_tell_what_is_kept_and_what_comes_next(storage: Storage) -> None:
    stream = await storage.open()
    empty = await stream.ends([storage.calls, storage.other])
    assert len(empty) == storage.specs[0].partitions + storage.specs[1].partitions
    assert all(first == following for first, following in empty.values())

    await append(stream, storage.numbered(3))

    (last, *_) = reversed(await storage.read_topic(stream, 3))
    place = (storage.calls, last.partition)
    assert await stream.ends([storage.calls]) == {
        key: ends for key, ends in empty.items() if key[0] == storage.calls and key != place
    } | {place: (empty[place][0], last.offset + 1)}


async def test_creating_twice_changes_nothing(storage: Storage) -> None:
    stream = await storage.open()
    await append(stream, storage.numbered(1))

    await stream.create(storage.specs)
    await stream.create([replace(storage.specs[0], partitions=9, retention_ms=7_200_000)])

    assert [state.differences for state in await stream.inspect(storage.specs)] == [(), ()]
    assert len(await storage.read_topic(stream, 1)) == 1


async def test_inspection_tells_every_difference_in_a_sentence(storage: Storage) -> None:
    stream = await storage.open()
    wanted = replace(
        storage.specs[0], partitions=9, retention_ms=7_200_000, record_bytes_max=1_200_000
    )

    same, changed, absent = await stream.inspect([storage.specs[1], wanted, spec(storage.absent)])

    assert (same.exists, same.differences) == (True, ())
    assert (absent.exists, absent.differences) == (False, ())
    assert (changed.name, changed.exists) == (storage.calls, True)
    found = " / ".join(changed.differences)
    assert len(changed.differences) == 3
    for figure in ("4", "9", "10000000000000", "7200000", "1100000", "1200000"):
        assert figure in found
