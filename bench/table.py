"""What a run found, as rows: printed as a table, kept as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """`met` is None where nothing was promised; a miss is a word in a table, never an exit code."""

    case: str
    what: str
    value: float
    unit: str
    beside: str = ""  # further figures of the same measurement
    target: str = ""
    met: bool | None = None


def at_most(limit: float, value: float, unit: str) -> tuple[str, bool]:
    return f"<= {limit:g} {unit}", value <= limit


def at_least(limit: float, value: float, unit: str) -> tuple[str, bool]:
    return f">= {limit:g} {unit}", value >= limit


def figure(value: float) -> str:
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def markdown(rows: Sequence[Row]) -> str:
    lines = []
    for case, found in groupby(rows, key=lambda row: row.case):
        lines += ["", f"### {case}", "", "| what | figure | beside it | target | |"]
        lines += ["|---|---:|---|---|---|"]
        for row in found:
            verdict = {True: "met", False: "**missed**", None: ""}[row.met]
            cells = (row.what, f"{figure(row.value)} {row.unit}", row.beside, row.target, verdict)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines).lstrip("\n")


def write(folder: Path, name: str, machine: dict[str, Any], rows: Sequence[Row]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    document = {"machine": machine, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path
