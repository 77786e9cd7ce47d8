"""Reads the whole lake, for its lines' offsets and nothing else of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from sinks.store import Store
from trunkline.cli.accounting import Ledger
from trunkline.cli.progress import Progress
from trunkline.stream import Place

_LAKE = "lake"
_file = re.compile(r".+-([0-9]+)-([0-9]{20})-([0-9]{20})\.jsonl").fullmatch


@dataclass(slots=True)
class Scan:
    files: int = 0
    problems: list[str] = field(default_factory=list)


async def first_published(store: Store, place: Place) -> int | None:
    """Where the first cut of a partition began; None if there was none."""
    topic, partition = place
    folder = f"{_LAKE}/_cuts/{topic}-{partition}"
    names = [name for name in await store.names(folder) if name.endswith(".json")]
    if not names:
        return None
    data = await store.read(f"{folder}/{min(names)}")
    try:
        return int(orjson.loads(data or b"")["start"])
    except (ValueError, LookupError, TypeError):
        return None  # what publishes says so louder


async def scan(store: Store, ledgers: Mapping[Place, Ledger]) -> Scan:
    """Every line of every file into its ledger; lines of other streams are left alone."""
    found = Scan()
    names = await _names(store)
    with Progress("reading the lake", len(names)) as progress:
        for name in names:
            data = await store.read(name)
            if data is not None:
                found.files += 1
                _read(name, data, ledgers, found)
            progress.advance()
    return found


async def _names(store: Store) -> list[str]:
    found = []
    for date in sorted(await store.names(_LAKE)):
        if date.startswith("date="):
            for kind in sorted(await store.names(f"{_LAKE}/{date}")):
                folder = f"{_LAKE}/{date}/{kind}"
                found += [f"{folder}/{it}" for it in sorted(await store.names(folder))]
    return found


def _read(name: str, data: bytes, ledgers: Mapping[Place, Ledger], found: Scan) -> None:
    match = _file(name.rpartition("/")[2])
    if match is None or not data.endswith(b"\n"):
        found.problems.append(f"{name} is not a file of the lake")
        return
    partition, start, end = map(int, match.groups())
    for number, raw in enumerate(data.split(b"\n")[:-1], 1):
        try:
            line = orjson.loads(raw)
            topic, at, offset = line["topic"], int(line["partition"]), int(line["offset"])
        except (ValueError, LookupError, TypeError):
            found.problems.append(f"{name}:{number} is not a line of the lake")
            continue
        if at != partition or not start <= offset <= end:
            found.problems.append(f"{name}:{number} does not belong there: {at}:{offset}")
        ledger = ledgers.get((topic, at))
        if ledger is not None:
            ledger.add(offset)
