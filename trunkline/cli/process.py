"""`trunkline process`: runs the workers of the named processors until told to stop."""

import argparse
import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from trunkline import log, service, topics
from trunkline.cli.wiring import embedded, open_stream, settings_of
from trunkline.clock import Clock, SystemClock
from trunkline.errors import Misconfigured, NotReachable
from trunkline.log import Log
from trunkline.metrics import Metrics
from trunkline.probe import METRICS_TYPE, Page, Route, serve
from trunkline.settings import Settings
from trunkline.worker.deferral import Tiers
from trunkline.worker.processor import Processor
from trunkline.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_log = logging.getLogger("trunkline.process")

# A fetch comes back twice a second, and may take a rebalance longer; then we are out of the group.
_FETCH_SECONDS_MAX = 20.0

Opening = Callable[[Settings, Clock], AbstractAsyncContextManager[Processor]]


@asynccontextmanager
async def _publish(settings: Settings, clock: Clock) -> "AsyncIterator[Processor]":
    from sinks.lake import Lake
    from sinks.store import StoreUnavailable
    from trunkline.cli.publishing import Publish, open_store

    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(open_store(settings, clock))
        except StoreUnavailable as error:
            raise NotReachable(str(error)) from None
        yield Publish(Lake(store), settings)


PROCESSORS: dict[str, Opening] = {"publish": _publish}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help=f"of {', '.join(PROCESSORS)}; several run as one"
    )


def run(arguments: argparse.Namespace) -> int:
    names = list(dict.fromkeys(arguments.names))
    for name in names:
        if name not in PROCESSORS:
            raise Misconfigured("process", f"{name!r} is none of {', '.join(PROCESSORS)}")
    settings = settings_of(arguments)
    return service.run(lambda stop: _process(settings, names, stop))


async def _process(settings: Settings, names: Sequence[str], stop: asyncio.Event) -> int:
    clock = SystemClock()
    logs = log.start(settings.log)
    try:
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            processors = [await enter(PROCESSORS[name](settings, clock)) for name in names]
            stream = await enter(open_stream(settings, clock))
            if embedded(settings):
                # As the door does: whichever starts first.
                await stream.create(topics.specs(settings.topics))
            metrics = Metrics()
            prefix = settings.topics.prefix
            tiers = Tiers({seconds: prefix + it for seconds, it in topics.DEFERRED.items()})
            workers = [
                Worker(
                    processor,
                    stream,
                    settings.worker,
                    clock,
                    metrics,
                    dead_topic=prefix + topics.DEAD,
                    tiers=tiers,
                )
                for processor in processors
            ]
            crew = Crew(settings, workers, metrics, clock, logs)
            probe = await enter(serve("probe.bind", settings.probe.bind, crew.routes()))
            started = {"processors": ",".join(names), "probe": probe, "pid": os.getpid()}
            _log.info("started", extra=started)
            await crew.run(stop)
    finally:
        logs.stop()
    return 0


class Crew:
    """Several workers in one process: they begin, are judged, and end together."""

    def __init__(
        self,
        settings: Settings,
        workers: Sequence[Worker],
        metrics: Metrics,
        clock: Clock,
        logs: Log | None = None,
    ) -> None:
        self._settings = settings
        self._workers = workers
        self._metrics = metrics
        self._clock = clock
        self._logs = logs
        self._began_at = clock.monotonic()
        self._stop: asyncio.Event | None = None

    async def run(self, stop: asyncio.Event) -> None:
        self._stop = stop
        ends = await asyncio.gather(
            *(self._run(worker, stop) for worker in self._workers), return_exceptions=True
        )
        for worker in self._workers:
            account = worker.account
            _log.info(
                "%s stopped",
                worker.processor.name,
                extra={
                    "delivered": account.delivered,
                    "settled": account.settled,
                    "in_flight": account.in_flight,
                    "abandoned": account.abandoned,
                },
            )
        for end in ends:
            if end is not None:
                raise end

    async def _run(self, worker: Worker, stop: asyncio.Event) -> None:
        try:
            await worker.run(stop)
        finally:
            stop.set()  # one that fails takes the others along, and they drain

    def problem(self) -> str | None:
        """Why we are not at work; None if we are."""
        if self._stop is not None and self._stop.is_set():
            return "shutting down"
        for worker in self._workers:
            age = worker.facts().fetch_age
            if self._clock.monotonic() - age <= self._began_at + 0.001:
                return f"{worker.processor.name} has not joined its group yet"
            if age > _FETCH_SECONDS_MAX:
                return f"{worker.processor.name} has heard nothing of the stream for {age:.0f} s"
        return None

    def routes(self) -> Mapping[str, Route]:
        return {"/livez": self._livez, "/readyz": self._readyz, "/metrics": self._metrics_page}

    def _livez(self) -> Page:
        """A stream that is away, or work that is slow, is no reason to be restarted."""
        for worker in self._workers:
            silent = worker.heart.silent_seconds
            if silent > self._settings.probe.loop_lag_seconds_max:
                return Page(f"the event loop was blocked for {silent:.1f} s\n".encode(), status=503)
            if not worker.healthy():
                still = worker.facts().still
                text = f"{worker.processor.name} has work and did none of it for {still:.0f} s\n"
                return Page(text.encode(), status=503)
        return Page(b"ok\n")

    def _readyz(self) -> Page:
        problem = self.problem()
        return Page(b"ok\n") if problem is None else Page(f"{problem}\n".encode(), status=503)

    def _metrics_page(self) -> Page:
        metrics = self._metrics
        metrics.ready.value = float(self.problem() is None)
        metrics.loop_lag.value = max(worker.heart.lag_seconds for worker in self._workers)
        if self._logs is not None:
            metrics.log_dropped.value = self._logs.dropped
        return Page(metrics.exposition(), METRICS_TYPE)
