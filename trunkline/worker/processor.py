"""What a processor is to the worker: which line an event waits in, when to run, what came of it."""

from collections.abc import Sequence
from typing import Protocol

from trunkline.outcome import Outcome
from trunkline.stream import Delivery

# Topic, partition, key: events of one line run in order, one run at a time.
Line = tuple[str, int, bytes]


class Processor(Protocol):
    name: str  # also its group, and its label in metrics
    topics: Sequence[str]
    defers: bool  # whether Deferred is among its outcomes

    def line(self, delivery: Delivery) -> Line:
        """By key for most; a processor that keeps a whole partition in order leaves the key out."""

    def take(self, waiting: Sequence[Delivery], now: float) -> int | float:
        """How many of the head of a line to run now (an int, at least 1), or the Unix time at which
        to ask again (a float). `waiting` is not empty. Pure.
        """

    def circuit(self, delivery: Delivery) -> str | None:
        """What its handling needs and others need too, by the name that a Retry gives it. Pure."""

    async def handle(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """One outcome each, in order. From the first Retry on, what follows it must be Retry too:
        they stay at the head of their line and come again.
        """
