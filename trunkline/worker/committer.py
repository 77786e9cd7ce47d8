"""Commits the marks that have moved: now and then, when much was settled, and before letting go."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from trunkline.errors import Fenced, StreamUnavailable
from trunkline.settings import WorkerSection
from trunkline.stream import Mark, Membership
from trunkline.worker.holdings import Holding, Holdings

_log = logging.getLogger("trunkline.worker")


class Committer:
    """One commit under way at any time, so that an older mark never overtakes a newer one."""

    def __init__(
        self, holdings: Holdings, limits: WorkerSection, fenced: Callable[[Holding], None]
    ) -> None:
        self._holdings = holdings
        self._limits = limits
        self._fenced = fenced
        self._settled = 0
        self._due = asyncio.Event()
        self._lock = asyncio.Lock()
        self.membership: Membership | None = None

    def settled(self) -> None:
        self._settled += 1
        if self._settled >= self._limits.commit_settles:
            self._due.set()

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._limits.commit_seconds):
                    await self._due.wait()
            except TimeoutError:
                pass
            await self.commit()

    async def commit(self, among: Iterable[Holding] | None = None) -> None:
        async with self._lock:
            self._settled = 0
            self._due.clear()
            membership = self.membership
            changed = self._holdings.changed(among) if membership is not None else []
            if membership is None or not changed:
                return
            try:
                await self._try(membership, changed)
            except Fenced:
                # One of them is not ours: the others must not lose their commit by it.
                for one in changed:
                    await self._try_one(membership, one)

    async def _try(self, membership: Membership, changed: list[tuple[Holding, Mark]]) -> None:
        # An older assignment's mark must not be committed under a newer one of the same place.
        changed = [one for one in changed if self._holdings.current(one[0])]
        if not changed:
            return
        done = False
        try:
            await membership.commit({holding.place: mark for holding, mark in changed})
            done = True
        except StreamUnavailable as error:
            _log.warning("a commit failed and will be tried again: %s", error)
        finally:
            for holding, mark in changed:
                if done:
                    holding.committed = mark
                else:
                    holding.touched = True

    async def _try_one(self, membership: Membership, one: tuple[Holding, Mark]) -> None:
        holding, _ = one
        try:
            await self._try(membership, [one])
        except Fenced:
            _log.warning("fenced: %s/%d is somebody else's", *holding.place)
            self._fenced(holding)
