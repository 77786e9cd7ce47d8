"""Several workers, and everything that can happen to them, by a seed; what must hold, holds.

Run one seed again with `SEEDS=7 pytest tests/worker/test_stress.py`.
"""

import asyncio
import os
import random
from collections import defaultdict
from itertools import pairwise

import pytest

from tests.worker.scene import TOPIC, Attempt, Member, Scene
from tests.worker.virtual import on_virtual_time
from trunkline.errors import StreamUnavailable
from trunkline.outcome import Dead, Done, Outcome, Retry, Skipped
from trunkline.stream import Delivery

SEEDS = [int(seed) for seed in os.environ.get("SEEDS", "").split(",") if seed] or list(range(60))
PARTITIONS = 5
KEYS = [b"%d" % number for number in range(12)]


class Chaos:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311  # a seed is the point
        self.scene = Scene(
            partitions=PARTITIONS,
            concurrency=self.chance.choice([1, 3, 20]),
            fetch_records_max=self.chance.choice([1, 7, 50]),
            place_records_max=self.chance.choice([5, 50, 500]),
            commit_settles=self.chance.choice([1, 10, 1_000]),
            revoke_seconds=self.chance.choice([0.0, 0.5, 3.0]),
            drain_seconds=self.chance.choice([0.0, 2.0]),
            retry_attempts_max=4,
            retry_first_seconds=0.1,
        )
        self.kills = 0
        self.calm = False

    async def act(self, delivery: Delivery) -> Outcome:
        if self.chance.random() < 0.7:
            await asyncio.sleep(self.chance.choice([0.001, 0.02, 0.3]))
        what = self.chance.random()
        if delivery.value == b"poison":
            raise ValueError("poison")
        if self.calm or what < 0.8:
            return Done()
        if what < 0.85:
            return Skipped("not ours")
        if what < 0.88:
            return Dead("at once")
        if what < 0.9:
            await asyncio.sleep(20.0)
            return Done()
        if what < 0.95:
            return Retry("later", self.chance.choice([None, 0.01, 2.0]))
        raise RuntimeError("now and then")

    def write(self) -> None:
        for _ in range(self.chance.randrange(40)):
            partition = self.chance.randrange(PARTITIONS)
            value = b"poison" if self.chance.random() < 0.02 else b"{}"
            self.scene.put(self.chance.choice(KEYS), value=value, partition=partition)
        if self.chance.random() < 0.2:
            self.scene.storage.skip((TOPIC, self.chance.randrange(PARTITIONS)), 3)

    def living(self) -> list[Member]:
        return [member for member in self.scene.members if not member.task.done()]

    async def disturb(self) -> None:
        scene, what = self.scene, self.chance.random()
        living = self.living()
        if what < 0.3 and len(living) < 4:
            scene.start(self.act)
        elif what < 0.45 and living:
            await scene.stop(self.chance.choice(living))
        elif what < 0.6 and living:
            self.kills += 1
            await scene.kill(self.chance.choice(living))
        elif what < 0.7 and living:
            membership = self.chance.choice(living).worker._committer.membership
            if membership is not None:
                self.kills += 1
                scene.storage.kill(membership)  # type: ignore[arg-type]  # only memory's are here
        elif what < 0.8:
            away = StreamUnavailable("away")
            scene.stream.failure = None if scene.stream.failure else away
        elif what < 0.9:
            away = StreamUnavailable("away")
            scene.storage.commit_failure = None if scene.storage.commit_failure else away

    async def play(self) -> None:
        scene = self.scene
        scene.start(self.act)
        for _ in range(40):
            self.write()
            await self.disturb()
            await asyncio.sleep(self.chance.choice([0.0, 0.05, 0.5, 3.0]))
            scene.check()
        scene.stream.failure = scene.storage.commit_failure = None
        self.calm = True
        if not self.living():
            scene.start(self.act)
        await scene.finished()
        await scene.end()


def in_order(attempts: list[Attempt]) -> None:
    """Within one owner's time with a line, events begin in order, and one at a time (I4)."""
    lines: dict[tuple[str, int, bytes | None], list[Attempt]] = defaultdict(list)
    for it in attempts:
        lines[it.member, it.delivery.partition, it.delivery.key].append(it)
    for mine in lines.values():
        for one, following in pairwise(mine):
            if one.ended_at is not None:
                assert one.ended_at <= following.begun_at
    whole: dict[tuple[int, bytes | None], list[int]] = defaultdict(list)
    for it in attempts:
        whole[it.delivery.partition, it.delivery.key].append(it.delivery.offset)
    for offsets in whole.values():
        firsts = list(dict.fromkeys(offsets))
        assert firsts == sorted(firsts), "whoever runs it: nothing is begun before what precedes it"


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_nothing_is_lost_and_order_and_accounts_hold(seed: int) -> None:
    @on_virtual_time
    async def play() -> None:
        chaos = Chaos(seed)
        await chaos.play()
        scene = chaos.scene
        in_order(scene.attempts)
        settled = sum(member.worker.account.settled for member in scene.members)
        written = sum(len(scene.offsets(place)) for place in scene.storage.places([TOPIC]))
        assert settled >= written
        if not chaos.kills and not any(it.worker.account.abandoned for it in scene.members):
            assert settled == written, "without a kill each is settled once"

    play()
