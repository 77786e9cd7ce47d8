"""Which event runs next: lines in order, one run a line at a time, places in turn. Pure.

Everything here belongs to a lane: one place under one assignment. A lane that is dropped takes
all that waits in it along; what still runs of it is heard no more, but until it has ended, the
same line of a later lane does not begin. Times are monotonic.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import overload

from trunkline.outcome import Dead, Deferred
from trunkline.stream import Delivery
from trunkline.worker.deferral import Deferral
from trunkline.worker.processor import Line
from trunkline.worker.retries import Trouble


@dataclass(slots=True, eq=False)
class Work:
    """One delivery on its way to its outcome."""

    delivery: Delivery
    size_bytes: int
    admitted_at: float
    trouble: Trouble | None = None
    verdict: Dead | Deferred | None = None  # decided, but its letter is not durable yet
    posts: int = 0  # of that letter, in vain
    deferral: Deferral | None = None  # `delivery` is the original then, which lies elsewhere

    @property
    def offset(self) -> int:
        """In the place that holds it."""
        return self.deferral.offset if self.deferral else self.delivery.offset

    @property
    def since_ms(self) -> float:
        """Since when something could be done with it."""
        return self.deferral.ready * 1_000 if self.deferral else self.delivery.timestamp_ms

    @property
    def asleep(self) -> bool:
        """It only passes the time here: it is not in flight, and nothing may be done with it."""
        return self.deferral is not None and not self.deferral.awake


@dataclass(slots=True, eq=False)
class Lane:
    """A place's lines under one assignment."""

    epoch: int
    queues: dict[Line, "Queue"] = field(default_factory=dict)
    ready: deque["Queue"] = field(default_factory=deque)
    stopped: bool = False  # nothing more is begun
    dropped: bool = False  # and nothing that ends is heard

    @property
    def asking(self) -> bool:
        """Nothing can be done here before more arrives or time passes, by the processor's word."""
        return bool(self.queues) and all(queue.asked for queue in self.queues.values())


@dataclass(slots=True, eq=False)
class Queue:
    """What waits in one line, in order."""

    lane: Lane
    line: Line
    waiting: deque[Work] = field(default_factory=deque)
    busy: bool = False  # handed out: it comes back by `finish`
    ready: bool = False
    parked_until: float | None = None
    asked: bool = False  # parked by the processor, who wants to be asked again when more arrives
    alarm: float | None = None
    alone: int = 0  # so many of its head go one at a time: one of them failed in company


class Waiting(Sequence[Delivery]):
    """The deliveries of a queue, without copying them."""

    __slots__ = ("_works",)

    def __init__(self, works: deque[Work]) -> None:
        self._works = works

    def __len__(self) -> int:
        return len(self._works)

    def __iter__(self) -> Iterator[Delivery]:
        for work in self._works:
            yield work.delivery

    @overload
    def __getitem__(self, index: int) -> Delivery: ...
    @overload
    def __getitem__(self, index: slice) -> list[Delivery]: ...
    def __getitem__(self, index: int | slice) -> Delivery | list[Delivery]:
        if isinstance(index, slice):
            return list(self)[index]
        return self._works[index].delivery


class Lines:
    def __init__(self) -> None:
        self._turns: deque[Lane] = deque()  # lanes with something ready, next first
        self._alarms: list[tuple[float, int, Queue]] = []
        self._alarms_set = 0
        # Lines of dropped lanes that still run, and who waits for them to end.
        self._ghosts: dict[Line, Queue | None] = {}

    def rest(self, lane: Lane, line: Line, work: Work, until: float) -> None:
        """Into a line of its own, which begins later."""
        queue = lane.queues[line] = Queue(lane, line)
        queue.waiting.append(work)
        self._park(queue, until, asked=False)

    def add(self, lane: Lane, line: Line, work: Work) -> None:
        queue = lane.queues.get(line)
        if queue is None:
            queue = lane.queues[line] = Queue(lane, line)
        queue.waiting.append(work)
        if queue.asked:
            queue.asked, queue.parked_until = False, None
        if not (queue.busy or queue.ready) and queue.parked_until is None:
            self._make_ready(queue)

    def next(self) -> Queue | None:
        """A queue whose head may run. It is the caller's until `finish`."""
        while self._turns:
            lane = self._turns.popleft()
            if lane.stopped or not lane.ready:
                lane.ready.clear()
                continue
            queue = lane.ready.popleft()
            queue.ready, queue.busy = False, True
            if lane.ready:
                self._turns.append(lane)
            return queue
        return None

    def finish(
        self,
        queue: Queue,
        again: Sequence[Work] = (),
        until: float | None = None,
        *,
        asked: bool = False,
    ) -> None:
        """It has been run, or not; `again` returns to its head, and it rests until then."""
        queue.busy = False
        queue.waiting.extendleft(reversed(again))
        if queue.lane.dropped:
            heir = self._ghosts.pop(queue.line, None)
            if heir is not None and not heir.lane.dropped:
                self._make_ready(heir)
        elif not queue.waiting:
            del queue.lane.queues[queue.line]
        elif until is None:
            self._make_ready(queue)
        else:
            self._park(queue, until, asked=asked)

    def release(self, now: float) -> None:
        """What has rested long enough is ready again."""
        while self._alarms and self._alarms[0][0] <= now:
            at, _, queue = heappop(self._alarms)
            if queue.alarm == at:
                queue.alarm = None
            if queue.parked_until is None:
                continue
            if queue.parked_until <= now:
                queue.parked_until, queue.asked = None, False
                self._make_ready(queue)
            elif queue.alarm is None:
                self._set_alarm(queue, queue.parked_until)

    @property
    def next_release(self) -> float | None:
        """When `release` has something to do, at the earliest."""
        return self._alarms[0][0] if self._alarms else None

    @property
    def any_ready(self) -> bool:
        return any(not lane.stopped for lane in self._turns)

    def stop(self, lane: Lane) -> None:
        lane.stopped = True

    def drop(self, lane: Lane) -> None:
        """Forget the lane; who waited for an older run of the same line waits no more."""
        lane.stopped = lane.dropped = True
        for queue in lane.queues.values():
            if queue.busy:
                self._ghosts.setdefault(queue.line, None)
            queue.waiting.clear()
        self._alarms = [alarm for alarm in self._alarms if not alarm[2].lane.dropped]
        heapify(self._alarms)

    def _make_ready(self, queue: Queue) -> None:
        if queue.line in self._ghosts:
            self._ghosts[queue.line] = queue
            return
        lane = queue.lane
        if not lane.ready:
            self._turns.append(lane)
        queue.ready = True
        lane.ready.append(queue)

    def _park(self, queue: Queue, until: float, *, asked: bool) -> None:
        queue.parked_until, queue.asked = until, asked
        if queue.alarm is None or until < queue.alarm:
            self._set_alarm(queue, until)

    def _set_alarm(self, queue: Queue, at: float) -> None:
        queue.alarm = at
        self._alarms_set += 1
        heappush(self._alarms, (at, self._alarms_set, queue))
