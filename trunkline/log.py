"""Structured logs on stderr: written by a thread of their own, so nobody waits for a reader."""

import logging
import os
import select
import sys
import threading
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TextIO

from trunkline.clock import rfc3339
from trunkline.logline import Line, as_json, as_text, loss, snapshot
from trunkline.settings import LogSection

_OURS = ("trunkline", "ingest", "processors", "sinks")
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

# What a pipe that polls as writable takes without blocking (POSIX: PIPE_BUF).
_WRITE_BYTES = select.PIPE_BUF
_POLL_MS = 100
_STOP_POLLS = 8
_STOP_SECONDS = 1.0


class Log:
    """Everything logged in this process, from start to stop."""

    def __init__(self, settings: LogSection, stream: TextIO) -> None:
        self._render = as_json if settings.format == "json" else as_text
        self._output = _Output(stream)
        self._queue: SimpleQueue[Line | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._drain, name="log", daemon=True)
        self._handler = _Handler(self._queue, settings.queue_records_max)
        level = _LEVELS[settings.level]
        root = logging.getLogger()
        # Libraries speak at WARNING, or not at all if we are to be quieter than that.
        self._levels = [(root, max(level, logging.WARNING))]
        self._levels += [(logging.getLogger(name), level) for name in _OURS]

    @property
    def dropped(self) -> int:
        """Lines lost for good: the queue was full, or stderr took no more."""
        return self._handler.dropped + self._output.failed

    def start(self) -> None:
        self._before = [(logger, logger.level) for logger, _ in self._levels]
        for logger, level in self._levels:
            logger.setLevel(level)
        logging.getLogger().addHandler(self._handler)
        self._thread.start()

    def stop(self) -> None:
        """Write what is queued, for a second at most: a reader that hangs must not keep us."""
        if self._handler.closed:
            return
        self._handler.closed = True
        self._output.stopping = True
        self._queue.put(None)
        self._thread.join(_STOP_SECONDS)
        for logger, level in self._before:
            logger.setLevel(level)
        if not (self._output.hangs or self._thread.is_alive()):
            # Else it stays and swallows: without any handler logging itself would write to stderr,
            # and the last words of a library would hold up our exit.
            logging.getLogger().removeHandler(self._handler)

    def _drain(self) -> None:
        reported = 0
        while (line := self._queue.get()) is not None:
            if self._handler.dropped > reported:
                lost, reported = self._handler.dropped - reported, self._handler.dropped
                self._output.write(self._render(loss(line, lost)))
            self._output.write(self._render(line))
        if self._handler.dropped > reported:
            last: Line = {"time": self._handler.last_time}
            self._output.write(self._render(loss(last, self._handler.dropped - reported)))


def start(settings: LogSection, stream: TextIO | None = None) -> Log:
    log = Log(settings, stream or sys.stderr)
    log.start()
    return log


class _Handler(logging.Handler):
    def __init__(self, queue: SimpleQueue[Line | None], records_max: int) -> None:
        super().__init__()
        self._queue = queue
        self._records_max = records_max
        self.closed = False
        self.dropped = 0
        self.last_time = rfc3339(0)

    def emit(self, record: logging.LogRecord) -> None:
        if self.closed or self._queue.qsize() >= self._records_max:
            self.dropped += 1
            self.last_time = rfc3339(record.created)
            return
        try:
            self._queue.put(snapshot(record))
        except Exception:  # noqa: BLE001  # a stranger's __str__ must not fell whoever logs it
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        # The standard one prints to stderr, where nobody may be reading.
        del record
        self.dropped += 1


class _Output:
    """Writes to the descriptor itself: a thread that dies holding sys.stderr's lock is fatal."""

    def __init__(self, stream: TextIO) -> None:
        stream.flush()
        self._stream = stream
        self._poll = select.poll()
        self._polls_left = _STOP_POLLS
        self.stopping = False
        self.hangs = False
        self.failed = 0
        try:
            self._descriptor: int | None = stream.fileno()
        except (OSError, ValueError):
            self._descriptor = None  # a StringIO has none, and never blocks
        else:
            self._poll.register(self._descriptor, select.POLLOUT)

    def write(self, text: str) -> None:
        if self._descriptor is None:
            self._stream.write(text)
            return
        rest = text.encode("utf-8", "backslashreplace")
        while rest:
            try:
                if not self._writable():
                    self.failed += 1
                    return
                rest = rest[os.write(self._descriptor, rest[:_WRITE_BYTES]) :]
            except BlockingIOError:
                continue  # another process on this pipe was faster
            except OSError:
                self.failed += 1  # nobody reads any more, and there is nowhere else to say so
                return

    def _writable(self) -> bool:
        while not self._poll.poll(_POLL_MS if self._polls_left > 0 else 0):
            self.hangs = True
            if self.stopping:
                self._polls_left -= 1
                if self._polls_left <= 0:
                    return False
        self.hangs = False
        return True


class Sampler:
    """So many lines a second for each reason, and how many were left out in between. Pure."""

    _REASONS_MAX = 64

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._windows: dict[str, _Window] = {}

    def admit(self, reason: str, now: float) -> int | None:
        """How many were suppressed since the last admitted one; None to suppress this one too."""
        if reason not in self._windows and len(self._windows) >= self._REASONS_MAX:
            reason = "other"
        window = self._windows.setdefault(reason, _Window(now))
        if not 0 <= now - window.start < 1:
            # Also after the clock was set back: else silence until it has caught up.
            window.start, window.admitted = now, 0
        if window.admitted >= self._per_second:
            window.suppressed += 1
            return None
        window.admitted += 1
        suppressed, window.suppressed = window.suppressed, 0
        return suppressed


@dataclass(slots=True)
class _Window:
    start: float
    admitted: int = 0
    suppressed: int = 0
