"""The place in line of one request's answer: pipelined answers leave in the order they are due."""

from collections.abc import Callable

from ingest.answers import Answer


class Reply:
    __slots__ = ("_send_ready", "answer", "forgotten", "keep", "since")

    def __init__(self, send_ready: Callable[[], bool], since: float, *, keep: bool) -> None:
        self._send_ready = send_ready
        self.since = since
        self.keep = keep
        self.answer: Answer | None = None
        self.forgotten = False  # counted as gone: whatever comes later is nobody's answer

    def give(self, answer: Answer) -> bool:
        """False if nobody is left to hear it."""
        if self.forgotten:
            return False
        self.answer = answer
        return self._send_ready()
