"""What is committed when the group changes in the middle of it."""

from collections.abc import Mapping

from trunkline.errors import Fenced
from trunkline.settings import WorkerSection
from trunkline.stream import Delivery, Mark, Place
from trunkline.worker.committer import Committer
from trunkline.worker.holdings import Holding, Holdings
from trunkline.worker.lines import Lines

PLACES: list[Place] = [("calls", 0), ("calls", 1)]


class Group:
    """A membership whose first commit is refused, while another assignment comes over it."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self.tried: list[dict[Place, Mark]] = []

    async def commit(self, marks: Mapping[Place, Mark]) -> None:
        self.tried.append(dict(marks))
        if len(self.tried) == 1:
            self._holdings.assign({PLACES[0]: Mark(70)})
            raise Fenced("one of them is not yours")


async def test_a_mark_of_an_older_assignment_is_never_committed_under_a_newer_one() -> None:
    fenced: list[Holding] = []
    limits = WorkerSection()
    holdings = Holdings(limits, Lines(), lambda it: (it.topic, it.partition, it.key or b""))
    committer = Committer(holdings, limits, fenced.append)
    group = Group(holdings)
    committer.membership = group  # type: ignore[assignment]  # it can do nothing but commit
    holdings.assign({place: Mark(0) for place in PLACES})
    deliveries = [Delivery(*place, 0, 0, b"k", b"", ()) for place in PLACES]
    holdings.admit(deliveries, 0.0, 0.0)
    for holding in holdings.places.values():
        assert holdings.settle(holding.lane.epoch, holding.tracker.unsettled[0])
    await committer.commit()
    assert group.tried == [dict.fromkeys(PLACES, Mark(1)), {PLACES[1]: Mark(1)}]
    assert holdings.places[PLACES[0]].committed == Mark(70)
    assert fenced == []
