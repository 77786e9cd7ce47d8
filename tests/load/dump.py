"""Reads a whole stream back, as the judge of a run needs it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trunkline import topics
from trunkline.cli.wiring import open_stream
from trunkline.clock import SystemClock
from trunkline.config import load
from trunkline.settings import Settings
from trunkline.stream import Delivery, Start, Stream

_TRIES_MAX = 100


def settings_from(environment: Mapping[str, str], folder: Path) -> Settings:
    """The settings of the process under test, read as it reads them."""
    file = folder / "trunkline.yaml"
    return load(file if file.exists() else None, environment)


async def dump(stream: Stream, names: Sequence[str] = topics.INGESTED) -> list[Delivery]:
    """Everything from the first record kept to the ends as they are now."""
    ends = {place: end for place, (_, end) in (await stream.ends(names)).items()}
    starts = {place: start for place, (start, _) in (await stream.ends(names)).items()}
    left = {place for place, end in ends.items() if end > starts[place]}
    subscription = await stream.subscribe(names, Start.EARLIEST)
    found: list[Delivery] = []
    try:
        empty = 0
        while left and empty < _TRIES_MAX:
            batch = await subscription.fetch(10_000, 0.5)
            empty = 0 if batch else empty + 1
            for delivery in batch:
                place = delivery.topic, delivery.partition
                if delivery.offset + 1 >= ends[place]:
                    left.discard(place)
            found += batch
    finally:
        await subscription.close()
    assert not left, f"the stream ends before its end in {sorted(left)}"
    return found


async def dump_of(environment: Mapping[str, str], folder: Path) -> list[Delivery]:
    settings = settings_from(environment, folder)
    names = [settings.topics.prefix + name for name in topics.INGESTED]
    if settings.stream.startswith("sqlite:///") and not settings.stream.startswith("sqlite:////"):
        raise ValueError("tests name their file by an absolute path")
    async with open_stream(settings, SystemClock()) as stream:
        return await dump(stream, names)
