"""Consumes Kafka for a group: what is ours, from which mark, until when; and fenced commits."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from trunkline.errors import Fenced, StreamUnavailable
from trunkline.stream import NOTE_BYTES_MAX, Delivery, Mark, Member, Place
from trunkline.stream.handover import let_go
from trunkline.stream.kafka_consumer import (
    REBALANCE_MS,
    REQUEST_SECONDS_MIN,
    open_consumer,
    stop_consumer,
)
from trunkline.stream.kafka_errors import FOREIGN, describe, is_eviction, translate
from trunkline.stream.kafka_poll import Poll
from trunkline.stream.kafka_url import Connecting

# The broker waits REBALANCE_MS for us to join again; half of it is left for the way there.
LET_GO_SECONDS = REBALANCE_MS / 2000
# The longest a getmany is given: so soon newly assigned partitions are asked for.
POLL_SECONDS = 0.25

Ends = Callable[[Sequence[str]], Awaitable[Mapping[Place, tuple[int, int]]]]
Session = tuple[int, str]  # generation and member id: who we are to the coordinator


async def join(
    connecting: Connecting,
    request_seconds: float,
    topics: Sequence[str],
    group: str,
    member: Member,
    ends: Ends,
) -> "KafkaMembership":
    """Does not wait to be assigned anything: that may take the others a whole rebalance."""
    consumer = open_consumer(connecting, request_seconds, group)
    membership = KafkaMembership(consumer, group, member, ends, request_seconds)
    try:
        async with asyncio.timeout(request_seconds + REQUEST_SECONDS_MIN):
            await consumer.start()
    except FOREIGN as error:
        await stop_consumer(consumer, request_seconds)
        raise translate(error, f"joining the group {group}") from None
    consumer.subscribe(list(topics), listener=membership)
    return membership


class KafkaMembership(ConsumerRebalanceListener):  # type: ignore[misc]  # untyped in aiokafka
    """The member hears of its partitions only from within fetch, and of giving them up at any time.

    So whoever joins has the membership in hand before its member is asked to commit.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        group: str,
        member: Member,
        ends: Ends,
        request_seconds: float,
    ) -> None:
        self._consumer = consumer
        self._group = group
        self._member = member
        self._ends = ends
        self._seconds = request_seconds
        self._poll = Poll(consumer)
        self._session: Session | None = None  # under which we were assigned what we have
        self._granted: dict[Place, Mark] = {}  # marks known, the member not yet told
        self._owned: dict[Place, int] = {}  # told; the next offset expected
        self._loading: asyncio.Task[None] | None = None
        self._letting_go: asyncio.Task[None] | None = None
        self._failure: StreamUnavailable | None = None

    @property
    def closed(self) -> bool:
        return self._poll.closed

    async def fetch(
        self, records_max: int, wait_seconds: float, held: Collection[Place] = ()
    ) -> list[Delivery]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        held = frozenset(held)
        while True:
            self._tell()
            left = max(0.0, deadline - loop.time())
            try:
                found = await self._poll_once(records_max, min(left, POLL_SECONDS), held)
            except StreamUnavailable as failure:
                self._fail(failure)
                continue
            if found:
                self._note(found)
            if self._failure is None and (found or not left):
                return found

    def _tell(self) -> None:
        if self._failure is not None:
            raise self._failure
        granted, self._granted = self._granted, {}
        if not granted:
            return
        places = {TopicPartition(*place): mark.next_offset for place, mark in granted.items()}
        for place, position in places.items():
            self._consumer.seek(place, position)
        self._owned = {place: mark.next_offset for place, mark in granted.items()}
        self._member.assigned(granted)
        self._consumer.resume(*places)

    async def _poll_once(
        self, records_max: int, seconds: float, held: Collection[Place]
    ) -> list[Delivery]:
        places = [TopicPartition(*place) for place in self._owned if place not in held]
        if self._owned and not places:
            # To getmany no partitions would mean all. It is also what reports a dead coordinator.
            self._check()
            await asyncio.sleep(seconds)
            return []
        return await self._poll.fetch(records_max, seconds, places, held)

    def _check(self) -> None:
        try:
            self._consumer._coordinator.check_errors()  # noqa: SLF001  # has no public name
        except FOREIGN as error:
            raise StreamUnavailable(f"the group {self._group}: {describe(error)}") from None

    def _note(self, found: list[Delivery]) -> None:
        for it in found:
            place = it.topic, it.partition
            if it.offset < self._owned[place]:
                # aiokafka starts over by itself where its position is beyond the end.
                self._fail(StreamUnavailable(f"{place} was cut or made anew below its mark"))
                return
            self._owned[place] = it.offset + 1

    def _fail(self, failure: StreamUnavailable) -> None:
        self._failure = self._failure or failure
        self._poll.forget()
        self._granted = {}
        lost, self._owned = list(self._owned), {}
        if lost:
            self._member.lost(lost)

    async def commit(self, marks: Mapping[Place, Mark]) -> None:
        """One attempt, under the session in which the partitions were assigned.

        The library's own commit tries again by itself, under whatever it then takes itself for. A
        consumer the group has forgotten commits as one without a group, which a group that
        happens to be empty accepts: it would move back what others have settled since.
        """
        assert all(len(mark.note.encode()) <= NOTE_BYTES_MAX for mark in marks.values())
        self._require(marks)
        coordinator = self._consumer._coordinator  # noqa: SLF001  # see above
        offsets = {
            TopicPartition(*place): OffsetAndMetadata(mark.next_offset, mark.note)
            for place, mark in marks.items()
        }
        try:
            async with asyncio.timeout(self._seconds):
                await coordinator.ensure_coordinator_known()
                self._require(marks)
                # Nothing may come between the check and this: it reads the session at once.
                await coordinator._do_commit_offsets(None, offsets)  # noqa: SLF001  # see above
        except FOREIGN as error:
            if is_eviction(error):
                raise Fenced(f"the group {self._group} has given our partitions up") from None
            raise translate(error, f"committing for the group {self._group}") from None

    def _require(self, places: Collection[Place]) -> None:
        strange = sorted(set(places) - set(self._owned))
        if strange or self._session != self._present():
            raise Fenced(f"the group {self._group} has not assigned us {strange or 'anything'}")

    def _present(self) -> Session:
        coordinator = self._consumer._coordinator  # noqa: SLF001  # nothing public tells
        return coordinator.generation, coordinator.member_id

    async def close(self) -> None:
        if self.closed:
            return
        self._failure = self._failure or StreamUnavailable("the membership is closed")
        self._granted, self._owned = {}, {}
        for task in (self._loading, self._letting_go):
            if task is not None:
                task.cancel()
        await self._poll.close(self._seconds)

    async def on_partitions_revoked(self, revoked: Any) -> None:  # noqa: ARG002  # the library's
        """Heartbeats go on meanwhile, and commits pass."""
        self._poll.forget()
        self._granted = {}
        if self._loading is not None:
            self._loading.cancel()
        places = list(self._owned)
        if places and self._session != self._present():
            self._owned = {}
            self._member.lost(places)
        elif places:
            # Of its own, so that closing can end it: this callback is never cancelled.
            self._letting_go = asyncio.create_task(let_go(self._member, places, LET_GO_SECONDS))
            await asyncio.wait({self._letting_go})
            self._owned = {}
        self._session = None

    def on_partitions_assigned(self, assigned: Any) -> None:
        """Without awaiting: fetching has begun already, and heartbeats wait for the return."""
        self._consumer.pause(*assigned)  # until their marks are known and the member is told
        self._session = self._present()
        if assigned:
            self._loading = asyncio.create_task(self._load(assigned), name="kafka marks")

    async def _load(self, places: Collection[TopicPartition]) -> None:
        coordinator = self._consumer._coordinator  # noqa: SLF001  # the public one hides notes
        try:
            committed = await coordinator.fetch_committed_offsets(list(places))
            firsts = await self._consumer.beginning_offsets(list(places))
            granted = {place: _mark(committed.get(place), firsts[place]) for place in places}
            self._granted = await self._possible(granted)
        except (*FOREIGN, StreamUnavailable) as error:
            what = f"reading the marks of the group {self._group}"
            self._fail(StreamUnavailable(f"{what}: {describe(error)}"))

    async def _possible(self, marks: Mapping[TopicPartition, Mark]) -> dict[Place, Mark]:
        """A mark beyond the end was made in another topic of that name: it begins anew."""
        found = {(place.topic, place.partition): mark for place, mark in marks.items()}
        ends = await self._consumer.end_offsets(list(marks))
        if any(mark.next_offset > ends[place] for place, mark in marks.items()):
            # The consumer ends before transactions under way; a mark may lie among those.
            real = await self._ends(sorted({place.topic for place in marks}))
            for at, (first, following) in real.items():
                if at in found and found[at].next_offset > following:
                    found[at] = Mark(first)
        return found


def _mark(committed: OffsetAndMetadata | None, first: int) -> Mark:
    if committed is None or committed.offset < first:
        return Mark(first)
    return Mark(committed.offset, committed.metadata)
