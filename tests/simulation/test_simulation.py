"""Thousands of invented worlds, each judged against what the worker promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.report import report

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("SIMULATION_SEEDS", "2000"))
CHUNK = 250


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the order of sets is part of a seed's story."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_invariant_holds_in_every_world(first: int) -> None:
    done = python("tests.simulation", str(first), str(min(CHUNK, SEEDS - first)))
    assert done.returncode == 0, done.stdout + done.stderr
    report(f"simulation from seed {first}: {done.stdout.splitlines()[-1]}")


def test_a_seed_tells_the_same_story_every_time() -> None:
    for seed in ("3", "7", "91"):
        first, second = python("tests.simulation", seed), python("tests.simulation", seed)
        assert first.stdout == second.stdout
        assert first.stdout.count("\n") > 50


def test_every_deliberate_mistake_is_caught() -> None:
    done = python("tests.simulation.mutations")
    report(done.stdout.rstrip())
    assert done.returncode == 0, done.stdout + done.stderr
