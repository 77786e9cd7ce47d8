"""One process's stream, over the simulated broker."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from tests.simulation.broker import Broker
from tests.simulation.membership import REQUEST_SECONDS, SimulatedMembership
from tests.simulation.virtual import Process
from tests.simulation.witness import Witness
from trunkline.errors import StreamError, StreamUnavailable
from trunkline.stream import (
    Mark,
    Member,
    Place,
    Record,
    Start,
    Subscription,
    TopicSpec,
    TopicState,
)


class SimulatedStream:
    def __init__(self, broker: Broker, process: Process, witness: Witness) -> None:
        self._broker = broker
        self._process = process
        self._witness = witness

    async def start(self) -> None:
        pass

    def lane(self, record: Record) -> int:
        return len(record.topic) % 2

    async def append(self, records: Sequence[Record]) -> list[StreamError | None]:
        broker, name = self._broker, self._process.name
        faults, chance = broker.faults, broker.dice.random()
        failed = chance < faults.append_failed
        epochs = self._witness.posting(self._process, records)
        unheard = faults.append_failed <= chance < faults.append_failed + faults.append_unheard
        if broker.dice.random() < faults.append_slow:
            await asyncio.sleep(broker.dice.uniform(0.1, 3.0))
        for epoch, record in zip(epochs, records, strict=True):
            if not failed:
                self._witness.landed(epoch, await broker.append(name, record))
        await asyncio.sleep(broker.dice.choice((0.0, 0.003)))
        if failed or unheard:
            broker.trouble(name)
            self._witness.tell(f"{name} append {'failed' if failed else 'landed, but fails'}")
        for epoch, record in zip(epochs, records, strict=True):
            self._witness.heard(epoch, record, durable=not (failed or unheard))
        if failed or unheard:
            return [StreamUnavailable("an append failed")] * len(records)
        return [None] * len(records)

    async def check(self) -> None:
        if not self._broker.reachable(self._process.name):
            raise StreamUnavailable("the broker is away")

    async def subscribe(self, topics: Sequence[str], start: Start) -> Subscription:
        raise AssertionError(f"{topics} from {start}: the worker reads as a member of its group")

    async def join(
        self, topics: Sequence[str], group: str, member: Member
    ) -> "SimulatedMembership":
        if not self._broker.reachable(self._process.name):
            await asyncio.sleep(REQUEST_SECONDS)
            raise StreamUnavailable("the broker is away")
        return SimulatedMembership(
            self._broker, self._process, self._witness, tuple(topics), group, member
        )

    async def inspect(self, specs: Sequence[TopicSpec]) -> list[TopicState]:
        return [TopicState(it.name, self._broker.logs.has(it.name), ()) for it in specs]

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        raise AssertionError(f"{specs}: the worker makes no topics")

    async def ends(self, topics: Sequence[str]) -> Mapping[Place, tuple[int, int]]:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                found: Mapping[Place, tuple[int, int]] = await self._broker.send(
                    self._process.name, lambda: self._broker.ends(topics)
                )
                return found
        except TimeoutError:
            raise StreamUnavailable("the broker is away") from None

    async def marks(self, topics: Sequence[str], group: str) -> Mapping[Place, Mark]:
        marks = self._broker.group(group).marks
        return {place: mark for place, mark in marks.items() if place[0] in topics}

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass
