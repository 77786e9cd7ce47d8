"""Judges what processors did: nothing lost, order kept, no repeat unexplained. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.workerfaults.journal import CANCELLED, DONE, KILLED, RAISED, Event, Line, Run
from trunkline.stream import Delivery, Mark, Place

# A settle is safe within a second; a machine with other work may take some more.
COMMIT_SECONDS = 3.0
_SHOWN_MAX = 5
Span = tuple[float, float]


@dataclass(slots=True)
class Facts:
    """What is known of a run of the whole, beside what its processors wrote."""

    stored: Sequence[Delivery]
    ends: Mapping[Place, tuple[int, int]]
    marks: Mapping[Place, Mark]
    dead: Collection[Event] = ()
    deaths: Mapping[int, float] = field(default_factory=dict)  # by kill -9 only
    # While the stream was away a commit could not be made, and owners may not have known it.
    outages: Sequence[Span] = ()
    reset: Collection[Event] = ()  # a tool wants these once more
    skipped: Collection[Event] = ()  # a tool does not want these
    abandoning: bool = False  # whether handlers may have been cancelled
    unsettled: Collection[Event] = ()  # they hang, and so hold their mark


@dataclass(slots=True)
class Summary:
    events: int = 0
    runs: int = 0
    repeats: int = 0
    dead: int = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.events:,} events, {self.runs:,} runs, {self.repeats:,} repeated after a fault, "
            f"{self.dead:,} dead, {len(self.violations)} violations"
        )


def check(runs: Sequence[Run], facts: Facts) -> Summary:
    """`runs` in the order they began."""
    by_event: defaultdict[Event, list[Run]] = defaultdict(list)
    by_line: defaultdict[Line, list[Run]] = defaultdict(list)
    for run in runs:
        by_event[run.event].append(run)
        by_line[run.line].append(run)
    summary = Summary(len(facts.stored), len(runs), dead=len(set(facts.dead)))
    _check_settled(summary, by_event, facts)
    _check_order(summary, by_line)
    _check_alone(summary, by_line, facts)
    _check_repeats(summary, by_event, facts)
    return summary


def _tell(summary: Summary, problem: str, cases: Iterable[object]) -> None:
    found = list(cases)
    if found:
        shown = ", ".join(map(str, found[:_SHOWN_MAX]))
        summary.violations.append(f"{len(found)} {problem}: {shown}")


def _check_settled(summary: Summary, by_event: Mapping[Event, list[Run]], facts: Facts) -> None:
    stored = {(it.topic, it.partition, it.offset) for it in facts.stored}
    done = {event for event, runs in by_event.items() if any(run.how == DONE for run in runs)}
    finished = done | set(facts.dead) | set(facts.skipped) | set(facts.unsettled)
    _tell(summary, "events neither done nor dead", sorted(stored - finished))
    _tell(summary, "events done and dead", sorted(done & set(facts.dead)))
    _tell(summary, "runs of what is not stored", sorted(set(by_event) - stored))
    waiting = {(topic, partition) for topic, partition, _ in facts.unsettled}
    _tell(
        summary,
        "marks not at the end",
        (
            f"{place} {facts.marks.get(place)} of {end}"
            for place, (first, end) in sorted(facts.ends.items())
            if first < end and place not in waiting
            if (mark := facts.marks.get(place)) is None or mark != Mark(end)
        ),
    )


def _check_order(summary: Summary, by_line: Mapping[Line, list[Run]]) -> None:
    """First starts of a line are in order, and none before its predecessor was finished once."""
    wrong, early = [], []
    for runs in by_line.values():
        highest = -1
        started: set[int] = set()
        for run in runs:
            offset = run.event[2]
            if offset in started:
                continue
            started.add(offset)
            if offset < highest:
                wrong.append(run.event)
            elif highest >= 0 and not any(
                it.event[2] == highest and it.ended is not None and it.ended <= run.began
                for it in runs
            ):
                early.append((run.event, highest))
            highest = max(highest, offset)
    _tell(summary, "first starts out of order", wrong)
    _tell(summary, "starts before the one before had ended", early)


def _check_alone(summary: Summary, by_line: Mapping[Line, list[Run]], facts: Facts) -> None:
    _tell(
        summary,
        "runs of one line at the same time",
        (
            (earlier.event, earlier.pid, later.event, later.pid)
            for runs in by_line.values()
            for earlier, later in pairwise(runs)
            if earlier.ended is None or earlier.ended > later.began
            if not _away(earlier.ended or earlier.began, facts)
        ),
    )


def _check_repeats(summary: Summary, by_event: Mapping[Event, list[Run]], facts: Facts) -> None:
    unexplained = []
    for event, runs in by_event.items():
        for earlier, later in pairwise(runs):
            if earlier.how == RAISED:
                continue
            summary.repeats += 1
            if not _explained(earlier, event, facts):
                unexplained.append((event, earlier.how, earlier.pid, later.pid))
    _tell(summary, "repeats unexplained", unexplained)


def _explained(run: Run, event: Event, facts: Facts) -> bool:
    if run.ended is None:
        return False
    if event in facts.reset or run.how == KILLED or _away(run.ended, facts):
        return True
    if run.how == CANCELLED:
        return facts.abandoning
    death = facts.deaths.get(run.pid)
    return death is not None and run.ended > death - COMMIT_SECONDS


def _away(moment: float, facts: Facts) -> bool:
    return any(begin - COMMIT_SECONDS < moment < end for begin, end in facts.outages)


def silences(runs: Sequence[Run], deaths: Mapping[int, float]) -> list[float]:
    """For each partition of each process killed: how long until somebody else began there."""
    found = []
    for pid, death in deaths.items():
        latest: dict[Place, Run] = {}
        following: dict[Place, Run] = {}
        for run in runs:
            place = run.event[:2]
            if run.began <= death:
                latest[place] = run
            elif run.pid != pid:
                following.setdefault(place, run)
        found += [
            following[place].began - death
            for place, run in latest.items()
            if run.pid == pid and place in following
        ]
    return sorted(found)


def pauses_after(runs: Sequence[Run], deaths: Mapping[int, float]) -> list[float]:
    """For each kill and each partition, whoever had it: its longest pause in the time after."""
    starts: defaultdict[Place, list[float]] = defaultdict(list)
    for run in runs:
        starts[run.event[:2]].append(run.began)
    return sorted(
        max((b - a for a, b in pairwise(each) if a <= death + 1 and b >= death), default=0.0)
        for death in deaths.values()
        for each in starts.values()
    )


def quantile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def longest_pause(runs: Sequence[Run]) -> float:
    """Between two starts, whoever's."""
    return max((later.began - earlier.began for earlier, later in pairwise(runs)), default=0.0)
