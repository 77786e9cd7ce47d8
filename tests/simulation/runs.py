"""Runs seeds, one by one; a seed that fails is a line that says how to see its whole story."""

import logging
from dataclasses import dataclass

from tests.simulation.plan import draw
from tests.simulation.virtual import Unquiet, VirtualLoop, run
from tests.simulation.witness import Violation, Witness
from tests.simulation.world import World

STEPS_MAX = 400_000
SECONDS_MAX = 400.0


@dataclass(slots=True)
class Result:
    seed: int
    invariant: str | None  # None: all of them held
    text: str
    story: list[tuple[float, str]]
    steps: int
    seconds: float  # virtual
    starts: int
    repeats: int

    @property
    def line(self) -> str:
        return f"seed {self.seed}: {self.text} — python -m tests.simulation {self.seed}"


class Diary(logging.Handler):
    """What the worker logs, told with the rest."""

    def __init__(self, witness: Witness) -> None:
        super().__init__()
        self._witness = witness

    def emit(self, record: logging.LogRecord) -> None:
        why = record.exc_info[1] if record.exc_info else ""
        self._witness.tell(f"      log: {record.getMessage()} {why}")


def simulate(seed: int, *, logs: bool = False) -> Result:
    logging.disable(logging.NOTSET if logs else logging.CRITICAL)
    loop = VirtualLoop(STEPS_MAX, SECONDS_MAX)
    world = World(loop, draw(seed), seed)
    if logs:
        log = logging.getLogger("trunkline")
        log.propagate = False
        log.addHandler(Diary(world.witness))
    invariant, text = None, "held"
    try:
        run(loop, world.play())
    except Violation as violation:
        invariant, text = violation.invariant, str(violation)
    except Unquiet as unquiet:
        invariant, text = "rest", str(unquiet)
    witness = world.witness
    result = Result(
        seed, invariant, text, list(witness.story), loop.steps, loop.time(), witness.starts,
        witness.repeats,
    )  # fmt: skip
    logging.disable(logging.CRITICAL)
    loop.unwind()
    return result
