"""Several publishers of one place at once, none knowing of the others: each record once."""

import pytest

from tests.lake.stepped import World
from tests.lake.words import exact

RECORDS = 150


async def shaken(world: World, *, turns: int, resets: tuple[str, ...] = ()) -> None:
    """Take-overs, kills, growth and resets at the seed's will."""
    random = world.random
    world.join()
    for _ in range(turns):
        await world.turn()
        chance = random.random()
        if chance < 0.3:
            world.visible = min(world.records, world.visible + random.randint(1, 10))
        elif chance < 0.32:
            world.join()
        elif chance < 0.335:
            random.choice(world.tasks).cancel()
        elif chance < 0.345 and "back" in resets:
            world.mark = random.randint(0, world.mark)
            world.join()
        elif chance < 0.355 and "ahead" in resets:
            world.mark = random.randint(world.mark, world.visible)
            world.join()


@pytest.mark.parametrize("seed", range(60))
async def test_zombies_and_kills_leave_each_record_once_and_in_order(seed: int) -> None:
    world = World(seed, RECORDS)
    await shaken(world, turns=400)
    await world.finish()
    exact(world.objects.published(), range(RECORDS))


@pytest.mark.parametrize("seed", range(60))
async def test_a_failing_store_and_resets_backwards_leave_each_record_once(seed: int) -> None:
    world = World(seed, RECORDS, fail_share=0.1)
    await shaken(world, turns=600, resets=("back",))
    world.mark = 0 if seed % 2 else world.mark
    await world.finish()
    exact(world.objects.published(), range(RECORDS))


@pytest.mark.parametrize("seed", range(60))
async def test_resets_in_both_directions_never_publish_a_record_twice(seed: int) -> None:
    """What was skipped is published when a tool goes back, unless a cut was left half written."""
    world = World(seed, RECORDS, fail_share=0.05)
    await shaken(world, turns=600, resets=("back", "ahead"))
    world.mark = 0
    await world.finish()
    found = sorted(world.objects.owners)
    assert len(found) > RECORDS // 2
    exact(world.objects.published(), found)
