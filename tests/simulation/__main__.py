"""`python -m tests.simulation SEED` tells a seed's story; `… FIRST COUNT` runs many."""

# ruff: noqa: T201  # a command speaks
import os
import sys
import time
import warnings

from tests.simulation.runs import simulate


def tell(seed: int) -> int:
    result = simulate(seed, logs=True)
    for at, text in result.story:
        print(f"{at:8.3f}  {text}")
    print(f"{result.line if result.invariant else f'seed {seed}: all held'}")
    return result.invariant is not None


def many(first: int, count: int) -> int:
    began, failed, starts, repeats, seconds = time.process_time(), 0, 0, 0, 0.0
    for seed in range(first, first + count):
        result = simulate(seed)
        starts, repeats = starts + result.starts, repeats + result.repeats
        seconds += result.seconds
        if result.invariant:
            failed += 1
            print(result.line, flush=True)
    spent = time.process_time() - began
    print(
        f"{count} seeds, {failed} failed; {starts} events begun, {repeats} of them again;"
        f" {seconds / 3600:.1f} simulated hours in {spent:.1f} s of CPU"
    )
    return failed > 0


def main() -> int:
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets is part of the story.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])  # noqa: S606
    # Crashed processes' tasks are torn down wherever they stood, and complain of it.
    sys.unraisablehook = lambda _: None
    warnings.simplefilter("ignore")
    numbers = [int(it) for it in sys.argv[1:]]
    return tell(*numbers) if len(numbers) == 1 else many(*numbers)


if __name__ == "__main__":
    sys.exit(main())
