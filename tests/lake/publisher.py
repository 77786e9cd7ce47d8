"""A publisher in a process of its own, on a stream it knows by heart: to be killed at any moment.

Usage: publisher STORE MARK RECORDS SEED COMMITS. It publishes from the mark in the file to the
end, in cuts of its own choosing; with COMMITS 0 it is a zombie, whose mark nobody hears.
"""

import asyncio
import sys
from pathlib import Path
from random import Random

from sinks.lake import Lake
from sinks.store.files import FileStore
from tests.lake.words import recorded
from trunkline.cli.publishing import Publish
from trunkline.clock import SystemClock
from trunkline.outcome import Done
from trunkline.settings import LakeSection, Settings
from trunkline.stream import Delivery

FAR_FUTURE = 9e9  # every cut is due


async def publish(store: Path, mark: Path, records: int, random: Random, *, commits: bool) -> None:
    limits = LakeSection(cut_seconds=3_600, cut_records_max=random.randint(5, 60))
    marking = Marking(mark, commits=commits)
    async with FileStore(store, SystemClock()) as files:
        processor = Publish(Lake(files), Settings(lake=limits))
        position = marking.begin()
        waiting: list[Delivery] = []
        while position < records or waiting:
            upto = min(records, position + random.randint(1, 90))
            waiting += [recorded(offset) for offset in range(position, upto)]
            position = upto
            count = processor.take(waiting, FAR_FUTURE)
            if isinstance(count, float):
                continue  # for the rest of a cut another began
            outcomes = await processor.handle(waiting[:count])
            done = outcomes.count(Done())
            del waiting[:done]
            marking.commit(waiting[0].offset if waiting else position)


class Marking:
    def __init__(self, mark: Path, *, commits: bool) -> None:
        self._mark = mark
        self._commits = commits

    def begin(self) -> int:
        return int(self._mark.read_text()) if self._mark.exists() else 0

    def commit(self, position: int) -> None:
        if self._commits:
            new = self._mark.with_suffix(".new")
            new.write_text(str(position))
            new.replace(self._mark)


if __name__ == "__main__":
    where, marked, count, seed, heard = sys.argv[1:]
    random = Random(seed)  # noqa: S311  # a seed that can be run again
    asyncio.run(publish(Path(where), Path(marked), int(count), random, commits=heard == "1"))
