"""`make soak`: faults in random order under load, on both streams, until the time is up."""

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import scenarios
from tests.faults.ground import Ground
from tests.kafka_server import KafkaServer


async def one(ground: Ground, dice: random.Random, name: str) -> None:
    match dice.randrange(4):
        case 0:
            await scenarios.killed_under_load(ground, dice.randint(3, 12), 400, name)
        case 1:
            await scenarios.terminated_under_load(ground, 300, name)
        case 2:
            await scenarios.burst(ground, name)
        case _:
            await scenarios.worker_killed(ground, name)


def on_kafka(folder: Path, url: str, number: int) -> Ground:
    ground = Ground(folder, url, prefix=f"soak{number}.")
    subprocess.run(
        [sys.executable, "-m", "trunkline", "topics", "apply"],
        env=ground.door().environment,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )
    return ground


def main() -> None:
    parser = argparse.ArgumentParser("soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)  # noqa: T201  # to run it again
    dice = random.Random(options.seed)  # noqa: S311  # the order of faults
    until, number = time.monotonic() + options.seconds, 0
    with tempfile.TemporaryDirectory(prefix="trunkline-soak-") as name:
        home = Path(name)
        with KafkaServer(home / "kafka") as broker:
            while time.monotonic() < until:
                number += 1
                folder = home / str(number)
                folder.mkdir()
                if number % 2:
                    ground = Ground(folder, f"sqlite:///{folder}/stream.db")
                    asyncio.run(one(ground, dice, f"{number} embedded"))
                else:
                    asyncio.run(one(on_kafka(folder, broker.url, number), dice, f"{number} kafka"))
    print(f"{number} rounds, nothing lost")  # noqa: T201


if __name__ == "__main__":
    main()
