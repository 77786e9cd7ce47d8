"""A bar on stderr for work that takes long; only a terminal sees it."""

import sys
from types import TracebackType
from typing import Self

from trunkline.clock import SystemClock

_WIDTH = 30
_REDRAW_SECONDS = 0.1


class Progress:
    def __init__(self, doing: str, total: int) -> None:
        self._doing = doing
        self._total = max(total, 1)
        self._done = 0
        self._drawn_at = 0.0
        self._shown = sys.stderr.isatty()

    def advance(self, count: int = 1) -> None:
        self._done = min(self._done + count, self._total)
        now = SystemClock.monotonic()
        if self._shown and now - self._drawn_at >= _REDRAW_SECONDS:
            self._drawn_at = now
            filled = _WIDTH * self._done // self._total
            bar = "█" * filled + "·" * (_WIDTH - filled)
            line = f"\r{self._doing} {bar} {self._done:,}/{self._total:,}"
            print(line, end="\x1b[K", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
