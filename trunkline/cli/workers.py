"""Several doors on one port: starts them, restarts the dead, speaks for all on one probe."""

import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
import tempfile
from http import HTTPStatus
from pathlib import Path

from trunkline import log, service
from trunkline.backoff import backoff
from trunkline.clock import Clock, SystemClock
from trunkline.errors import Misconfigured
from trunkline.expositions import Sum
from trunkline.probe import METRICS_TYPE, Page, serve
from trunkline.service import until
from trunkline.settings import Settings

_log = logging.getLogger("trunkline.workers")
_ASK_SECONDS = 2.0
_STEADY_SECONDS = 30.0
_RESTART_SECONDS_MAX = 10.0


class Worker:
    def __init__(self, number: int, folder: Path, config: str | None, clock: Clock) -> None:
        self.number = number
        self.socket = folder / f"{number}.sock"
        self.process: asyncio.subprocess.Process | None = None
        self._config = config
        self._clock = clock

    async def keep(self, stop: asyncio.Event) -> None:
        """Run it, and run it again if it dies, until stopping."""
        failures = 0
        while not stop.is_set():
            started = self._clock.monotonic()
            command = [sys.executable, "-m", "trunkline", "ingest", "--worker"]
            if self._config:
                command += ["--config", self._config]
            self.process = await asyncio.create_subprocess_exec(*command, env=self._environment())
            code = await self.process.wait()
            self.process = None
            if stop.is_set():
                return
            steady = self._clock.monotonic() - started > _STEADY_SECONDS
            failures = 0 if steady else failures + 1
            wait = backoff(failures, 0.1, _RESTART_SECONDS_MAX, random.random())  # noqa: S311
            _log.error("a worker died", extra={"worker": self.number, "exit_code": code})
            await until(stop, wait)

    def _environment(self) -> dict[str, str]:
        own = {"TRUNKLINE_PROBE_BIND": f"unix:{self.socket}", "TRUNKLINE_INGEST_WORKERS": "1"}
        return {**os.environ, **own}

    def end(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
                self.process.send_signal(signal.SIGTERM)

    async def ask(self, path: str) -> Page:
        """One of its own probe pages; 503 if it does not answer."""
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(self.socket))
                try:
                    writer.write(f"GET {path} HTTP/1.1\r\nhost: worker\r\n\r\n".encode())
                    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
                finally:
                    writer.close()
            return Page(body, status=int(head.split(b" ", 2)[1]))
        except (OSError, TimeoutError, IndexError, ValueError):
            return Page(f"worker {self.number} does not answer\n".encode(), status=503)


class Workers:
    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers
        self._metrics = Sum()
        self.stopping = False

    async def _all(self, path: str) -> list[Page]:
        return list(await asyncio.gather(*(worker.ask(path) for worker in self._workers)))

    async def livez(self) -> Page:
        # The dead are restarted from here; a worker that hangs is what this is for.
        running = [worker for worker in self._workers if worker.process is not None]
        pages = await asyncio.gather(*(worker.ask("/livez") for worker in running))
        return next((page for page in pages if page.status != HTTPStatus.OK), Page(b"ok\n"))

    async def readyz(self) -> Page:
        if self.stopping:
            return Page(b"shutting down\n", status=503)
        pages = await self._all("/readyz")
        return next((page for page in pages if page.status != HTTPStatus.OK), Page(b"ok\n"))

    async def metrics(self) -> Page:
        pages = await self._all("/metrics")
        for worker, page in zip(self._workers, pages, strict=True):
            if page.status == HTTPStatus.OK and worker.process is not None:
                self._metrics.note(worker.number, worker.process.pid, page.body.decode())
        text = self._metrics.render()
        return Page(text.encode(), METRICS_TYPE)

    async def refusals(self) -> Page:
        lists = [page.body.strip()[1:-1] for page in await self._all("/refusals")]
        return Page(b"[" + b",".join(part for part in lists if part) + b"]", "application/json")


def run_workers(settings: Settings, config: str | None) -> int:
    if settings.ingest.bind.endswith(":0"):
        raise Misconfigured("ingest.bind", "several workers need one fixed port")
    return service.run(lambda stop: _run(settings, config, stop))


async def _run(settings: Settings, config: str | None, stop: asyncio.Event) -> int:
    logs = log.start(settings.log)
    try:
        with tempfile.TemporaryDirectory(prefix="trunkline-") as folder:
            clock = SystemClock()
            workers = [
                Worker(number, Path(folder), config, clock)
                for number in range(settings.ingest.workers)
            ]
            crowd = Workers(workers)
            routes = {
                "/livez": crowd.livez,
                "/readyz": crowd.readyz,
                "/metrics": crowd.metrics,
                "/refusals": crowd.refusals,
            }
            async with serve("probe.bind", settings.probe.bind, routes) as probe:
                _log.info("started", extra={"workers": len(workers), "probe": probe})
                keepers = [asyncio.create_task(worker.keep(stop)) for worker in workers]
                await stop.wait()
                crowd.stopping = True
                for worker in workers:
                    worker.end()
                await asyncio.gather(*keepers)
    finally:
        logs.stop()
    return 0
