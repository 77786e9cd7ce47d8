"""The only member of a group on the embedded stream: it has every partition, from join to close."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any

from trunkline.errors import Fenced, StreamUnavailable
from trunkline.stream import NOTE_BYTES_MAX, Delivery, Mark, Member, Place
from trunkline.stream.embedded_lock import GroupLock
from trunkline.stream.sqlite_schema import Connection, write_marks
from trunkline.stream.sqlite_subscription import SqliteSubscription

# A commit that takes longer waits for a disk that hangs.
COMMIT_SECONDS = 5.0

Writing = Callable[[Callable[[Connection], None]], Awaitable[Any]]


class SqliteMembership:
    def __init__(
        self,
        group: str,
        member: Member,
        lanes: Mapping[Place, int],
        marks: Mapping[int, Mark],
        subscription: SqliteSubscription,
        writing: Writing,
        lock: GroupLock,
    ) -> None:
        self._group = group
        self._member = member
        self._lanes = dict(lanes)
        self._marks = {place: marks[lane] for place, lane in lanes.items()}
        self._subscription = subscription
        self._writing = writing
        self._lock = lock
        self._told = False
        self._failure: StreamUnavailable | None = None
        self.closed = False

    async def fetch(
        self, records_max: int, wait_seconds: float, held: Collection[Place] = ()
    ) -> list[Delivery]:
        if self._failure is not None:
            raise self._failure
        if not self._told:
            self._told = True
            self._member.assigned(self._marks)
        try:
            found = await self._subscription.fetch(records_max, wait_seconds, held)
        except StreamUnavailable as failure:
            self._end(failure)
            raise
        return [] if self._failure else found

    def _end(self, failure: StreamUnavailable) -> None:
        if self._failure is None:
            self._failure = failure
            self._member.lost(list(self._lanes))

    async def commit(self, marks: Mapping[Place, Mark]) -> None:
        assert all(len(mark.note.encode()) <= NOTE_BYTES_MAX for mark in marks.values())
        strange = sorted(set(marks) - set(self._lanes))
        if strange or self._failure or not self._told:
            raise Fenced(f"{self._group} does not own {strange or 'anything'} here")
        lanes = {self._lanes[place]: mark for place, mark in marks.items()}
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._writing(partial(self._write, marks=lanes))
        except TimeoutError:
            raise StreamUnavailable("the disk did not take the marks in time") from None

    def _write(self, connection: Connection, marks: Mapping[int, Mark]) -> None:
        # Asked here, inside the transaction: nobody joins after us and commits before this one.
        if self.closed:
            raise Fenced(f"{self._group} was left")
        write_marks(connection, self._group, marks)

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._failure = self._failure or StreamUnavailable("the membership is closed")
            await self._subscription.close()
            self._lock.release()
