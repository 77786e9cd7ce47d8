"""`trunkline audit`: what the stream holds against what its groups and the lake say of it."""

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from sinks.store import Store, StoreUnavailable
from trunkline import topics
from trunkline.cli.accounting import (
    Ledger,
    Standing,
    length,
    standing,
    text,
    wanted,
    without,
)
from trunkline.cli.dead_letters import Letters
from trunkline.cli.lake_scan import first_published, scan
from trunkline.cli.publishing import open_store
from trunkline.cli.reading import read_all, require_stream
from trunkline.cli.wiring import open_stream, settings_of
from trunkline.clock import SystemClock
from trunkline.errors import Misconfigured, NotReachable
from trunkline.settings import Settings
from trunkline.stream import Delivery, Place, Stream
from trunkline.stream.note import Run

_GROUPS = {"publish": topics.INGESTED}
_PUBLISH = "publish"
_COLUMNS = ("kept", "settled", "unsettled", "dead", "in_lake", "missing", "double")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=f"of {', '.join(_GROUPS)}; all unless named")
    add("--no-lake", action="store_true", help="leave the lake unread")
    add("--json", action="store_true", help="machine-readable output")


def run(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    groups = list(dict.fromkeys(arguments.names or _GROUPS))
    for name in groups:
        if name not in _GROUPS:
            raise Misconfigured("audit", f"{name!r} is none of {', '.join(_GROUPS)}")
    require_stream(settings)
    return asyncio.run(_run(settings, groups, arguments))


@dataclass(slots=True)
class Row:
    """One partition, as one group has it."""

    standing: Standing
    dead: int  # open letters that came from here
    in_lake: int | None = None  # lines; None where the lake was not asked
    missing: list[Run] = field(default_factory=list)
    double: list[Run] = field(default_factory=list)
    beyond: int = 0

    def counts(self) -> dict[str, int | None]:
        stands = self.standing
        return {
            "kept": stands.end - stands.first,
            "settled": stands.settled,
            "unsettled": stands.unsettled,
            "dead": self.dead,
            "in_lake": self.in_lake,
            "missing": length(self.missing),
            "double": length(self.double),
        }

    def problems(self) -> list[str]:
        found = [self.standing.problem] if self.standing.problem else []
        if self.missing:
            found.append(f"settled, and not in the lake: {text(self.missing)}")
        if self.double:
            found.append(f"more than once in the lake: {text(self.double)}")
        if self.beyond:
            found.append(f"{self.beyond} lines of the lake are beyond the end: of another stream")
        topic, partition = self.standing.place
        return [f"{topic}/{partition}: {it}" for it in found]


Tables = dict[str, list[Row]]


async def _run(settings: Settings, groups: Sequence[str], arguments: argparse.Namespace) -> int:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        stream = await stack.enter_async_context(open_stream(settings, clock))
        store = open_store(settings, clock)
        # Closed at the end, but never opened: that would make it, and we only look.
        stack.push_async_exit(store)
        asked = None if arguments.no_lake else store
        tables, problems = await examine(stream, asked, settings.topics.prefix, groups)
    (_print_json if arguments.json else _print)(tables, problems)
    return 1 if problems else 0


async def examine(
    stream: Stream, store: Store | None, prefix: str, groups: Sequence[str]
) -> tuple[Tables, list[str]]:
    """Every partition as each group has it, and in sentences what is wrong."""
    letters = Letters()
    await read_all(stream, [prefix + topics.DEAD], "reading dead letters", letters.add)
    tables: Tables = {}
    problems: list[str] = []
    for group in groups:
        names = [prefix + topic for topic in _GROUPS[group]]
        rows = tables[group] = await _rows(stream, names, group, letters)
        if group == _PUBLISH and store is not None:
            try:
                problems += await _ask_lake(stream, store, rows, letters)
            except StoreUnavailable as error:
                raise NotReachable(str(error)) from None
        problems += [it for row in rows for it in row.problems()]
    return tables, problems


async def _rows(stream: Stream, names: Sequence[str], group: str, letters: Letters) -> list[Row]:
    # Marks before ends, so that nothing settled meanwhile lies beyond what we take for the end.
    marks = await stream.marks(names, group)
    ends = await stream.ends(names)
    dead = Counter(
        (it.letter.topic, it.letter.partition)
        for it in letters.open()
        if it.letter.processor == group
    )
    return [
        Row(standing(place, ends[place], marks.get(place)), dead[place]) for place in sorted(ends)
    ]


async def _ask_lake(
    stream: Stream, store: Store, rows: Sequence[Row], letters: Letters
) -> list[str]:
    firsts: dict[Place, int | None] = {}
    ledgers: dict[Place, Ledger] = {}
    for row in rows:
        stands = row.standing
        first = firsts[stands.place] = await first_published(store, stands.place)
        ledgers[stands.place] = Ledger(
            stands.first if first is None else min(first, stands.first), stands.end
        )
    found = await scan(store, ledgers)
    ends = await stream.ends(sorted({row.standing.place[0] for row in rows}))
    dead: dict[Place, set[int]] = {}
    for it in letters.found.values():
        if it.letter.processor == _PUBLISH:
            place = it.letter.topic, it.letter.partition
            dead.setdefault(place, set()).add(it.letter.offset)
    for row in rows:
        place = row.standing.place
        ledger = ledgers[place]
        row.in_lake = ledger.lines
        row.double = ledger.double()
        row.beyond = sum(offset >= ends[place][1] for offset in ledger.above)
        lacking = ledger.lacking(wanted(row.standing, firsts[place]))
        row.missing = without(lacking, dead.get(place, ()))
    await _excuse_gaps(stream, rows)
    return found.problems


async def _excuse_gaps(stream: Stream, rows: Sequence[Row]) -> None:
    """Some offsets are no events: a transaction's marker, what was compacted away."""
    lacking = [row for row in rows if row.missing]
    if not lacking:
        return
    candidates: Mapping[Place, set[int]] = {
        row.standing.place: {
            offset
            for first, last in row.missing
            for offset in range(max(first, row.standing.first), last)
        }
        for row in lacking
    }

    def strike(delivery: Delivery) -> None:
        candidates.get((delivery.topic, delivery.partition), set()).discard(delivery.offset)

    names = sorted({row.standing.place[0] for row in lacking})
    await read_all(stream, names, "looking for what is missing", strike)
    for row in lacking:
        row.missing = without(row.missing, candidates[row.standing.place])


def _print_json(tables: Tables, problems: Sequence[str]) -> None:
    rows = [_plain(group, row) for group, found in tables.items() for row in found]
    print(json.dumps({"ok": not problems, "problems": problems, "partitions": rows}))


def _print(tables: Tables, problems: Sequence[str]) -> None:
    lines = [("group", "topic", *(name.replace("_", " ") for name in _COLUMNS))]
    for group, found in tables.items():
        for topic in dict.fromkeys(row.standing.place[0] for row in found):
            counts = [row.counts() for row in found if row.standing.place[0] == topic]
            lines.append((group, topic, *(_total(counts, name) for name in _COLUMNS)))
    widths = [max(len(it) for it in column) for column in zip(*lines, strict=True)]
    for group, topic, *figures in lines:
        words = [group.ljust(widths[0]), topic.ljust(widths[1])]
        words += [it.rjust(width) for it, width in zip(figures, widths[2:], strict=True)]
        print("  ".join(words))
    for group, found in tables.items():
        for row in found:
            if row.standing.note_problem:
                where = f"{group}: {row.standing.place[0]}/{row.standing.place[1]}"
                print(f"{where}: the note is not used: {row.standing.note_problem}")
    print("\n".join(problems or [_verdict([row for found in tables.values() for row in found])]))


def _verdict(rows: Sequence[Row]) -> str:
    words = ["nothing is missing, nothing is there twice"]
    if unsettled := sum(row.standing.unsettled for row in rows):
        words.append(f"{unsettled:,} not settled yet")
    if dead := sum(row.dead for row in rows):
        words.append(f"{dead:,} dead, see `trunkline dead list`")
    return "; ".join(words)


def _total(counts: Sequence[Mapping[str, int | None]], name: str) -> str:
    known = [it for count in counts if (it := count[name]) is not None]
    return f"{sum(known):,}" if known else "-"


def _plain(group: str, row: Row) -> dict[str, object]:
    stands = row.standing
    topic, partition = stands.place
    return {
        "group": group,
        "topic": topic,
        "partition": partition,
        "first": stands.first,
        "end": stands.end,
        "mark": stands.mark,
        "settled_above": length(stands.settled_above),
        **row.counts(),
        "problems": row.problems(),
    }
