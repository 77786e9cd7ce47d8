"""What the fault tests saw, a line each: on stdout, and in a file for the end of the run."""

import os
from pathlib import Path

FILE = "FAULT_REPORT"


def report(line: str) -> None:
    print(line)  # noqa: T201  # a figure nobody sees proves nothing
    if name := os.environ.get(FILE):
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
