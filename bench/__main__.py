"""`make bench`: runs every case on one machine in one go; prints a table and writes JSON."""

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from bench import growth, latency, machine, refusals, startup, table, throughput
from bench.doors import PEER_PYTHON
from bench.ground import Ground
from tests.load.process import ROOT

RESULTS = ROOT / "bench" / "results"
CASES: dict[str, Callable[[Ground], Iterable[table.Row]]] = {
    "unit": throughput.unit,
    "throughput": throughput.side_by_side,
    "latency": latency.distribution,
    "refusals": refusals.cost,
    "startup": startup.cost,
    "growth": growth.growth,
}


def main() -> int:
    options = parse()
    if not PEER_PYTHON.exists():
        print("the peer is not installed: run `make bench`", file=sys.stderr)
        return 2
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # 4,000 connections, at both ends
    # Not under /tmp, which may be memory: an fsync must be one.
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=cache))
    try:
        return run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=CASES, help="this case; repeatable")
    parser.add_argument("--quick", action="store_true", help="shorter and once: for a first look")
    return parser.parse_args()


def run(options: argparse.Namespace, folder: Path) -> int:
    began = time.monotonic()
    ground = Ground(folder, quick=options.quick)
    rows: list[table.Row] = []
    with ground.kafka:
        ground.create_topics()
        described = machine.describe(folder)
        for name in options.only or CASES:
            print(f"{time.monotonic() - began:4.0f} s  {name} ...", file=sys.stderr, flush=True)
            for row in CASES[name](ground):
                rows.append(row)
                line = f"        {row.what}: {table.figure(row.value)} {row.unit}; {row.beside}"
                print(line, file=sys.stderr, flush=True)
    described["load_after"] = os.getloadavg()[0]
    described["seconds"] = round(time.monotonic() - began)
    described["quick"] = options.quick
    path = table.write(RESULTS, time.strftime("%Y%m%dT%H%M%S"), described, rows)
    print(machine.words(described) + "\n")
    print(table.markdown(rows))
    print(f"\nwritten to {path.relative_to(ROOT)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
