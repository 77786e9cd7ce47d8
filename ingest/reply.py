"""The place in line of one request's answer: pipelined answers leave in the order they are due."""

from typing import TYPE_CHECKING

from ingest.answers import Answer

if TYPE_CHECKING:
    from ingest.connection import Connection


class Reply:
    __slots__ = ("answer", "connection", "forgotten", "keep", "since")

    def __init__(self, connection: "Connection", since: float, *, keep: bool) -> None:
        self.connection = connection
        self.since = since
        self.keep = keep
        self.answer: Answer | None = None
        self.forgotten = False  # counted as gone: whatever comes later is nobody's answer

    def give(self, answer: Answer) -> bool:
        """False if nobody is left to hear it."""
        if self.forgotten:
            return False
        self.answer = answer
        return self.connection.send_ready()
