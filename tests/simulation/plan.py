"""What a seed means: topics, traffic, fates, faults and when. Pure: the dice decide it all."""

import random
from dataclasses import dataclass, field

from tests.simulation.broker import Faults
from trunkline.settings import WorkerSection

TOPICS = ("t.calls", "t.other")
DEAD = "t.dead"
TIERS = {"t.deferred.1s": 1, "t.deferred.5s": 5}
TROUBLE_SECONDS = 22.0  # then all is quiet


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is done to the world at a time. What it means, the world knows."""

    at: float
    kind: str
    target: str = ""
    seconds: float = 0.0
    number: int = 0


@dataclass(slots=True)
class Plan:
    partitions: dict[str, int]
    processes: int
    batch: int | None
    limits: WorkerSection
    hangs: bool = False  # some handlers never end
    events: list[Event] = field(default_factory=list)
    puts: list[tuple[float, tuple[str, bytes | None, bytes]]] = field(default_factory=list)
    spells: list[tuple[float, float, Faults]] = field(default_factory=list)
    mild: bool = False  # nothing but clean handovers


# Word and weight; numbers are drawn where the word asks for one.
_FATES = (
    ("instant", 30), ("sleep", 12), ("slow", 3), ("retry", 6), ("flaky", 4), ("raise", 3),
    ("dead", 4), ("skip", 3), ("stale", 1), ("lineless", 1), ("weary", 1), ("stubborn", 2),
    ("deaf", 2), ("defer", 4),
)  # fmt: skip

# Of faults that a process meets, and of those that befall the stream.
_FAULTS = (
    ("crash", 5), ("pause", 5), ("stop", 4), ("start", 3), ("down", 2), ("cut", 3), ("spell", 8),
    ("gap", 3), ("compact", 2), ("expire", 1), ("reset", 3),
)  # fmt: skip
_MILD = (("stop", 3), ("start", 3), ("gap", 1), ("compact", 1))


def draw(seed: int) -> Plan:
    dice = random.Random(seed)  # noqa: S311  # a plan, not a secret
    batch = dice.choice((None, None, None, 4))
    plan = Plan(
        partitions={topic: dice.choice((1, 2, 3)) for topic in TOPICS[: dice.choice((1, 2))]},
        processes=dice.choice((1, 2, 2, 3)),
        batch=batch,
        limits=_limits(dice),
        mild=dice.random() < 0.25,
    )
    _traffic(plan, dice)
    _troubles(plan, dice)
    return plan


def _limits(dice: random.Random) -> WorkerSection:
    return WorkerSection(
        concurrency=dice.choice((3, 8, 20)),
        fetch_records_max=dice.choice((3, 20, 250)),
        place_records_max=dice.choice((4, 30, 500)),
        commit_seconds=dice.choice((0.5, 1.0)),
        commit_settles=dice.choice((5, 1_000)),
        retry_attempts_max=6,
        retry_seconds_max=60.0,
        revoke_seconds=3.0,
        drain_seconds=dice.choice((3.0, 6.0)),
    )


def _traffic(plan: Plan, dice: random.Random) -> None:
    keys = [f"k{number}".encode() for number in range(dice.choice((2, 6, 15)))]
    hanging: set[bytes] = set()
    # A hanging line fills its place's bounds, and takes a slot: both must have room for the rest.
    roomy = plan.limits.place_records_max >= 500 and plan.limits.concurrency >= 8
    if plan.batch is None and roomy and dice.random() < 0.3:
        hanging = set(keys[: dice.choice((1, 2))])
        plan.hangs = True
    words, weights = zip(*_FATES, strict=True)
    for _ in range(dice.randint(25, 70)):
        at = 0.0 if dice.random() < 0.3 else dice.uniform(0.0, TROUBLE_SECONDS)
        key: bytes | None = dice.choice(keys)
        topic = dice.choice(sorted(plan.partitions))
        word = dice.choices(words, weights)[0]
        if key in hanging and dice.random() < 0.2:
            word = "hang"
        elif dice.random() < 0.03:
            key = None  # foreign producers do this
        plan.puts.append((at, (topic, key, _fate(word, dice))))
    plan.puts.sort(key=lambda it: it[0])


def _fate(word: str, dice: random.Random) -> bytes:
    match word:
        case "sleep":
            said = f"sleep {dice.uniform(0.005, 0.4):.3f}"
        case "slow":
            said = f"sleep {dice.uniform(1.0, 8.0):.3f}"
        case "defer":
            said = f"defer {dice.choice((0.0, 0.3, 2.0, 7.0, 14.0))}"
        case "hang":
            said = "hang 1000000"
        case "stubborn" | "deaf":
            said = f"{word} {dice.uniform(0.2, 1.5):.3f}"
        case "retry" | "flaky":
            said = f"{word} {dice.choice((1, 1, 2, 3))}"
        case _:
            said = word
    return said.encode()


def _troubles(plan: Plan, dice: random.Random) -> None:
    words, weights = zip(*(_MILD if plan.mild else _FAULTS), strict=True)
    for _ in range(dice.randint(2, 7)):
        at = dice.uniform(0.5, TROUBLE_SECONDS - 1.0)
        word = dice.choices(words, weights)[0]
        if word == "spell":
            plan.spells.append((at, at + dice.uniform(1.0, 12.0), _spell(dice)))
        else:
            seconds = dice.choice((dice.uniform(0.1, 3.0), dice.uniform(5.0, 12.0)))
            plan.events.append(Event(at, word, seconds=seconds, number=dice.randrange(1_000_000)))
    plan.events.sort(key=lambda it: it.at)


def _spell(dice: random.Random) -> Faults:
    names = Faults.__slots__
    faults = Faults()
    for name in dice.sample(names, dice.choice((1, 2, 4))):
        setattr(faults, name, dice.uniform(0.1, 0.6) if name != "fetch_ended" else 0.1)
    return faults
