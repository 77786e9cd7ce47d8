"""Mistakes made on purpose, one at a time: a simulation that misses one of them proves little.

`python -m tests.simulation.mutations` prints for each how many seeds it took, and what caught it.
"""

# ruff: noqa: T201  # a command speaks
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

SEEDS_MAX = 300
# What is loaded anew for each mutation: all that is mutated, and all that imports it.
ANEW = ("trunkline.worker", "trunkline.stream.tracker", "tests.simulation.")
KEPT = ("tests.simulation.mutations",)


@dataclass(frozen=True, slots=True)
class Mutation:
    name: str
    module: str
    old: str
    new: str
    also: "Mutation | None" = None  # a second safeguard that must be out of the way


@dataclass(frozen=True, slots=True)
class Catch:
    mutation: Mutation
    seeds: int
    invariant: str | None  # None: it got away
    text: str

    @property
    def line(self) -> str:
        caught = self.text if self.invariant else "NOT CAUGHT"
        return f"{self.mutation.name:44} {self.seeds:5}  {caught}"


TRACKER, WORKER = "trunkline.stream.tracker", "trunkline.worker.worker"
HOLDINGS, LINES = "trunkline.worker.holdings", "trunkline.worker.lines"
RUNS, ENDINGS = "trunkline.worker.runs", "trunkline.worker.endings"
COMMITTER, DEFERRAL = "trunkline.worker.committer", "trunkline.worker.deferral"

HEARD = Mutation("a run that was given up is heard", ENDINGS, "if run.given_up:", "if False:")

MUTATIONS = (
    Mutation(
        "commit the highest delivered", TRACKER,
        "lowest = self.next_offset",
        "lowest = self.delivered + 1",
    ),
    Mutation(
        "a mark one too high", TRACKER,
        "return Mark(lowest, text)", "return Mark(lowest + 1, text)",
    ),
    Mutation(
        "a mark that goes back", TRACKER,
        "lowest = self.next_offset",
        "lowest = next(iter(self.unsettled), 0)",
    ),
    Mutation(
        "ignore the note", TRACKER,
        "stuck, end = note.decode(mark.note, mark.next_offset)",
        "stuck, end = [], mark.next_offset",
    ),
    Mutation("write no note", TRACKER, "return Mark(lowest, text)", "return Mark(lowest)"),
    Mutation(
        "a note that forgets what is unsettled", TRACKER,
        "found = note.runs(offset for offset in self.unsettled if offset < end)",
        "found: list[note.Run] = []",
    ),
    Mutation(
        "a note that forgets what never came", TRACKER,
        "return found + [(first, last) for first, last in noted if first < last]",
        "return found",
    ),
    Mutation(
        "late results count for the next assignment", HOLDINGS,
        "holding = self._by_epoch.get(epoch)\n"
        "        if holding is None:\n"
        "            return False",
        "holding = self._by_epoch.get(epoch)\n"
        "        if holding is None and work.deferral is None:\n"
        "            holding = self.places.get((work.delivery.topic, work.delivery.partition))\n"
        "        if holding is None or work.offset not in holding.tracker.unsettled:\n"
        "            return False",
        HEARD,
    ),
    HEARD,
    Mutation(
        "an exception settles", RUNS,
        "            self._report(run, error)\n            return raised(error)\n"
        "        except asyncio.CancelledError",
        "            return [Done() for _ in run.works]\n        except asyncio.CancelledError",
    ),
    Mutation(
        "being cancelled settles", RUNS,
        "            if run.task.cancelling():\n                raise\n",
        "            return [Done() for _ in run.works]\n",
    ),
    Mutation(
        "settle before the letter is durable", ENDINGS,
        "        problem = await self._letterbox.post(work)\n",
        "        self._settle(run, work, verdict)\n"
        "        problem = await self._letterbox.post(work)\n"
        "        return True\n",
    ),
    Mutation("settle though the letter failed", ENDINGS, "if problem is None:", "if True:"),
    Mutation(
        "do not let go of what is lost", WORKER,
        '            _log.warning("%s lost %d partitions", self.processor.name, len(found))\n'
        "        self._give_up(found)",
        '            _log.warning("%s lost %d partitions", self.processor.name, len(found))\n',
    ),
    Mutation(
        "two of a line at once", LINES,
        "queue.ready, queue.busy = False, True", "queue.ready, queue.busy = False, False",
    ),
    Mutation(
        "a retry goes to the end of its line", LINES,
        "queue.waiting.extendleft(reversed(again))", "queue.waiting.extend(again)",
    ),
    Mutation(
        "do not wait for a cancelled run of the line", LINES,
        "if queue.line in self._ghosts:", "if False:",
    ),
    Mutation(
        "let go without draining", WORKER,
        "in await self._runs.ended(epochs, seconds):", "in self._runs.of(epochs):",
    ),
    Mutation(
        "let go without committing", WORKER,
        "        await self._committer.commit(holdings)\n", "",
    ),
    Mutation(
        "begin more while letting go", HOLDINGS,
        "            self._lines.stop(holding.lane)\n        return found",
        "            pass\n        return found",
    ),
    Mutation(
        "hold on to what was let go", WORKER,
        "        await self._committer.commit(holdings)\n        self._give_up(holdings)",
        "        await self._committer.commit(holdings)",
    ),
    Mutation(
        "drop what is held back", WORKER,
        "wait, held)\n",
        "wait, ())\n"
        "            found = [it for it in found if (it.topic, it.partition) not in held]\n",
    ),
    Mutation(
        "take in without bounds", HOLDINGS,
        "over = over and not holding.lane.asking", "over = False",
    ),
    Mutation(
        "stop without draining", WORKER,
        "                await self._hand_over(list(self._holdings.places),"
        " self._limits.drain_seconds)\n",
        "",
    ),
    Mutation(
        "retries that nobody wakes", LINES, "heappush(self._alarms, (at, self._alarms_set, queue))",
        "pass",
    ),
    Mutation(
        "lose a letter that could not be posted", ENDINGS,
        "                    left.append(work)\n", "                    pass\n",
    ),
    Mutation(
        "trip over a note of another tool", TRACKER,
        "except ValueError as error:", "except KeyError as error:",
    ),
    Mutation(
        "wake what was deferred too soon", DEFERRAL,
        "    if now >= deferral.due:", "    if now >= deferral.ready:",
    ),
    Mutation(
        "forget what was deferred for long", ENDINGS,
        "problem = await self._letterbox.move_on(work)",
        "problem: StreamError | None = None",
    ),
    Mutation(
        "take what was deferred for somebody else's", HOLDINGS,
        "if not self._sleepers.ours(work.delivery):", "if True:",
    ),
    Mutation("forget that a commit failed", COMMITTER, "holding.touched = True", "pass"),
)  # fmt: skip


class Patching(MetaPathFinder, SourceFileLoader):  # type: ignore[misc]  # of typeshed
    """Loads one module with one of its texts replaced."""

    def __init__(self, mutation: Mutation) -> None:
        super().__init__(mutation.module, "")
        self._mutation = mutation

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,  # noqa: ARG002  # the protocol's
    ) -> ModuleSpec | None:
        if fullname != self._mutation.module:
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        self.path = spec.origin
        spec.loader = self
        return spec

    def get_code(self, fullname: str) -> object:  # type: ignore[override]
        text = self.get_data(self.path).decode()
        found = text.count(self._mutation.old)
        assert found == 1, f"{self._mutation.name}: its text is {found} times in {fullname}"
        return compile(text.replace(self._mutation.old, self._mutation.new), self.path, "exec")


def catch(mutation: Mutation, seeds_max: int = SEEDS_MAX) -> Catch:
    """Run seeds from 0 on with the mistake made, until one of them is not held."""
    for name in [it for it in sys.modules if it.startswith(ANEW) and it not in KEPT]:
        del sys.modules[name]
    finders = [Patching(it) for it in (mutation, mutation.also) if it is not None]
    sys.meta_path[:0] = finders
    try:
        runs = importlib.import_module("tests.simulation.runs")
    finally:
        del sys.meta_path[: len(finders)]
    for seed in range(seeds_max):
        result = runs.simulate(seed)
        if result.invariant:
            return Catch(mutation, seed + 1, result.invariant, result.text)
    return Catch(mutation, seeds_max, None, "")


def main() -> int:
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation.mutations"])  # noqa: S606
    sys.unraisablehook = lambda _: None
    warnings.simplefilter("ignore")  # of coroutines that crashed processes never awaited
    print(f"{'mutation':44} seeds  caught by")
    catches = []
    for mutation in MUTATIONS:
        catches.append(catch(mutation))
        print(catches[-1].line, flush=True)
    return any(it.invariant is None for it in catches)


if __name__ == "__main__":
    sys.exit(main())
