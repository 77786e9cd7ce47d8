"""Plays a plan: processes that run the real worker, what befalls them, and how it must all end."""

import asyncio
import random
from collections.abc import Callable, Mapping
from functools import partial

from tests.simulation.behaviour import DEADLY, Fates
from tests.simulation.broker import Broker, Faults
from tests.simulation.epochs import Claim
from tests.simulation.host import Host
from tests.simulation.plan import DEAD, TIERS, TROUBLE_SECONDS, Event, Plan
from tests.simulation.virtual import VirtualLoop
from tests.simulation.witness import Witness
from trunkline.stream import Delivery, Mark, Place

GROUP = "simulated"
QUIET_SECONDS_MAX = 120.0
HOSTS_MAX = 4


class World:
    def __init__(self, loop: VirtualLoop, plan: Plan, seed: int) -> None:
        self.loop = loop
        self.plan = plan
        self.dice = random.Random(seed + 1_000_003)  # noqa: S311  # no secret
        self.broker = Broker(loop, self.dice, self._tell)
        self.witness = Witness(loop, self.broker, GROUP, by_key=plan.batch is None)
        self.fates = Fates()
        self.hosts: list[Host] = []
        self.exempt: set[tuple[Place, int]] = set()  # passed over by a tool
        self.hung: dict[tuple[Place, bytes | None], int] = {}  # from here on a line stands still
        self._incarnations = 0
        self._ending = False
        self._resetting: asyncio.Task[None] | None = None
        for topic, partitions in plan.partitions.items():
            self.broker.logs.create(topic, partitions)
        self.broker.logs.create(DEAD, 2)
        for topic in TIERS:
            self.broker.logs.create(topic, 1)
        if plan.batch is None:
            limits = plan.limits
            self.witness.waiting_max = limits.place_records_max + limits.fetch_records_max

    async def play(self) -> None:
        for number in range(self.plan.processes):
            self.loop.call_later(number * self.dice.choice((0.0, 0.4, 2.0)), self.start)
        for at, act in self._timeline():
            await asyncio.sleep(at - self.loop.time())
            act()
        await self._quiet()
        self._ending = True
        ends = {place: log.end for place, log in self.broker.logs.of.items()}
        for host in self.hosts:
            host.stop()
        while self._alive():
            await asyncio.sleep(0.2)
            self._check_hosts()
        self._judge_the_end(ends)

    def _timeline(self) -> list[tuple[float, Callable[[], None]]]:
        found: list[tuple[float, Callable[[], None]]] = []
        found += [(at, partial(self._put, *what)) for at, what in self.plan.puts]
        found += [(it.at, partial(self._befall, it)) for it in self.plan.events]
        for since, until, faults in self.plan.spells:
            found.append((since, partial(self._spell, faults)))
            found.append((until, partial(self._spell, Faults())))
        found += [(half / 2, self._check_hosts) for half in range(1, int(2 * TROUBLE_SECONDS))]
        return sorted(found, key=lambda it: it[0])

    def start(self) -> None:
        """One process more, unless a tool holds the group empty or there are enough."""
        if not self._ending and self._resetting is None and len(self._alive()) < HOSTS_MAX:
            self._incarnations += 1
            skew = self.dice.choice((0.0, 0.0, 3.0, -3.0))
            host = Host(self, f"p{self._incarnations}", skew)
            self.hosts.append(host)
            host.start()

    def _tell(self, text: str) -> None:
        self.witness.tell(text)  # which is made after the broker

    def _alive(self) -> list[Host]:
        return [host for host in self.hosts if host.alive]

    def _put(self, topic: str, key: bytes | None, value: bytes) -> None:
        places = self.broker.logs.places(topic)
        place = self.broker.logs.place(topic, key) if key else places[len(value) % len(places)]
        it = self.broker.put(place, key, value)
        if value.startswith(b"hang"):
            self.hung.setdefault((place, key), it.offset)

    def _spell(self, faults: Faults) -> None:
        self.broker.faults = faults
        self.witness.tell(f"{faults}")

    # What befalls.

    def _befall(self, event: Event) -> None:
        alive = self._alive()
        self.witness.tell(f"--- {event.kind} {event.seconds:.2f} s")
        match event.kind:
            case "start":
                self.start()
            case "down":
                self.broker.down()
                self.loop.call_later(min(event.seconds, 8.0), self.broker.up)
            case "reset" if self._resetting is None:
                self._resetting = asyncio.create_task(self._reset(event))
            case "crash" | "pause" | "stop" | "cut" if alive:
                self._befall_one(event, alive[event.number % len(alive)])
            case "gap" | "compact" | "expire":
                self._befall_log(event)

    def _befall_one(self, event: Event, host: Host) -> None:
        match event.kind:
            case "crash":
                host.crash()
                self.loop.call_later(event.seconds, self.start)
            case "stop":
                host.stop()
                self.loop.call_later(event.seconds, self.start)
            case "pause":
                host.pause()
                self.loop.call_later(event.seconds, host.resume)
            case "cut":
                self.broker.cut_off.add(host.name)
                self.broker.trouble(host.name)
                self.loop.call_later(event.seconds, self.broker.cut_off.discard, host.name)

    def _befall_log(self, event: Event) -> None:
        logs = self.broker.logs
        places = sorted(place for place in logs.of if place[0] in self.plan.partitions)
        place = places[event.number % len(places)]
        log = logs.of[place]
        match event.kind:
            case "gap":
                logs.skip(place, 1 + event.number % 3)
            case "compact" if log.records:
                logs.compact(place, log.records[event.number % len(log.records)].offset)
            case "expire":
                self.witness.unclean.add(place)  # a mark that is moved up loses its note
                logs.expire(place, log.start + event.number % (log.end - log.start + 1))

    async def _reset(self, event: Event) -> None:
        """What tools do to a group's marks, which they may do only while nobody is in it."""
        dice = random.Random(event.number)  # noqa: S311  # no secret
        for host in self._alive():
            host.crash() if dice.random() < 0.5 else host.stop()
        group = self.broker.group(GROUP)
        while group.seats:  # noqa: ASYNC110  # a tool asks again, too
            await asyncio.sleep(0.25)
        for place in sorted(group.marks):
            if dice.random() < 0.7:
                self._move(place, dice)
        self._resetting = None
        for _ in range(self.plan.processes):
            self.start()

    def _move(self, place: Place, dice: random.Random) -> None:
        marks, log = self.broker.group(GROUP).marks, self.broker.logs.of[place]
        old = marks[place]
        match dice.randrange(5):
            case 0 if place[0] not in TIERS:
                new = Mark(dice.randint(old.next_offset, max(log.end, old.next_offset)))
                passed = (it.offset for it in log.records if it.offset < new.next_offset)
                self.exempt.update((place, offset) for offset in passed)
            case 1:
                new = Mark(dice.randint(0, old.next_offset))
            case 2:
                new = Mark(dice.randint(0, old.next_offset), old.note)
            case 3:
                new = Mark(old.next_offset)
            case _:
                garbage = dice.choice(("tl1:", "tl1:AAAA", "AgD/", "null", "tl1:EQ==", "\u2603"))
                new = Mark(old.next_offset, garbage)
        marks[place] = new
        self.witness.unclean.add(place)
        self.witness.tell(f"a tool moves {place} from {old} to {new}")

    # How it must end.

    async def _quiet(self) -> None:
        """No more faults; everybody runs. All that can be settled must be, and be committed."""
        self.witness.tell("--- quiet")
        self._spell(Faults())
        self.broker.up()
        self.broker.cut_off.clear()
        for host in self.hosts:
            host.resume()
        if self._resetting is not None:
            await self._resetting
        if not self._alive():
            self.start()
        until = self.loop.time() + QUIET_SECONDS_MAX
        while missing := self._missing():
            if self.loop.time() > until:
                at = f"{missing[0][0]} {missing[0][1]}"
                self.witness.violated("I8" if self.plan.hangs else "I3", f"{at} is never settled")
            await asyncio.sleep(0.5)
            self._check_hosts()
            if not self._alive():
                self.start()

    def _missing(self) -> list[tuple[Place, int]]:
        """What is not settled as it should be, or not committed."""
        found = []
        marks = self.broker.group(GROUP).marks
        for place, log in self.broker.logs.of.items():
            claim = Claim(marks.get(place, Mark(log.start)))
            for it in log.records if place[0] != DEAD else ():
                hung = it.offset >= self.hung.get((place, it.key), it.offset + 1)
                excused = hung or (place, it.offset) in self.exempt
                if not excused and not (claim.covers(it.offset) and self._ended(it)):
                    found.append((place, it.offset))
        return found

    def _ended(self, it: Delivery) -> bool:
        at = (it.topic, it.partition), it.offset
        if it.topic in TIERS:
            return self.witness.deferrals.settled(at, self.witness.settled)
        return at in (self.witness.buried if Fates.of(it)[0] in DEADLY else self.witness.settled)

    def _check_hosts(self) -> None:
        for host in self.hosts:
            host.check()

    def _judge_the_end(self, ends: Mapping[Place, int]) -> None:
        witness = self.witness
        lost = [(place, offset) for place, offset in self._missing() if offset < ends[place]]
        for place, offset in lost[:1]:
            witness.violated("I16", f"{place} {offset} is lost by stopping")
        for place, log in self.broker.logs.of.items():
            for it in log.records if place[0] in self.plan.partitions else ():
                self._judge_one(place, it)

    def _judge_one(self, place: Place, it: Delivery) -> None:
        witness, at = self.witness, (place, it.offset)
        word = Fates.of(it)[0]
        settled, buried = witness.settled.get(at, 0), witness.buried.get(at, 0)
        if (settled if word in DEADLY else buried) > 0:
            witness.violated("I3", f"{at} {word}: settled {settled}, buried {buried} times")
        # A deferral that is told twice, or whose tier changed hands, may come twice.
        if word != "defer" and place not in witness.unclean and settled + buried > 1:
            letters = "I11" if buried else "I3"
            witness.violated(letters, f"{at} is settled {settled}, buried {buried} times")
