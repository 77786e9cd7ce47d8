"""`trunkline ingest` by a clock that is wrong by what a file says, as after an operator's slip."""

import os
import sys
from pathlib import Path

from trunkline.cli import ingest
from trunkline.cli.main import main
from trunkline.clock import SystemClock

_OFFSET = Path(os.environ["STEPPED_CLOCK_FILE"])


class SteppedClock(SystemClock):
    @staticmethod
    def now() -> float:
        return SystemClock.now() + float(_OFFSET.read_text() or 0)


if __name__ == "__main__":
    vars(ingest)["SystemClock"] = SteppedClock  # the one part that must lie
    sys.exit(main(["ingest"]))
