"""Which events lie in the tiers of deferral, until when, and what may be claimed of them."""

from dataclasses import dataclass, field

from tests.simulation.plan import TIERS
from trunkline.stream import Delivery, Place, Record
from trunkline.worker import deferral

At = tuple[Place, int]  # place and offset


def origin_of(letter: Record) -> tuple[At, bool]:
    """Where the event of a letter, dead or deferred, first lay; and whether it only moves on."""
    headers = {name: value.decode() for name, value in letter.headers}
    if letter.topic in TIERS:
        topic, partition, offset, _ = headers["tl-origin"].rsplit("/", 3)
        return ((topic, int(partition)), int(offset)), headers["tl-hops"] != "0"
    place = headers["tl-dead-topic"], int(headers["tl-dead-partition"])
    return (place, int(headers["tl-dead-offset"])), False


@dataclass(slots=True)
class Deferrals:
    due: dict[At, float] = field(default_factory=dict)  # by origin: Unix
    origins: dict[At, At] = field(default_factory=dict)  # of each record in a tier
    last: dict[At, At] = field(default_factory=dict)  # by origin: where it came to lie last

    def landed(self, delivery: Delivery) -> At:
        original, found = deferral.read(delivery, TIERS[delivery.topic])
        origin = (original.topic, original.partition), original.offset
        lies = (delivery.topic, delivery.partition), delivery.offset
        self.due.setdefault(origin, found.due)
        self.origins[lies] = origin
        self.last[origin] = lies
        return origin

    def settled(self, lies: At, done: dict[At, int]) -> bool:
        """It was handled, or has moved on: another record speaks for it."""
        origin = self.origins[lies]
        return origin in done or self.last[origin] != lies
