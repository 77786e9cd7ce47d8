"""Puts the door together around a stream, watches it, and takes it down in the order of flow."""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from ingest.connection import Connection
from ingest.descriptors import connections_allowed
from ingest.door import Door, Refusal
from ingest.forensics.explanation import explain
from ingest.forensics.report import as_dict
from ingest.tally import Tally
from trunkline import topics
from trunkline.clock import Clock, rfc3339
from trunkline.errors import Misconfigured, StreamError
from trunkline.keys import Keyring, Keys
from trunkline.log import Log, Sampler
from trunkline.metrics import Metrics
from trunkline.probe import METRICS_TYPE, Page, Route, address_text, reason, split_bind
from trunkline.service import Heart, until
from trunkline.settings import Settings
from trunkline.stream import Stream
from trunkline.stream.appender import Appender

_log = logging.getLogger("trunkline.ingest")
_LOOK_SECONDS = 1.0
_BACKLOG = 4_096
# The answer must be on the wire within its bound, so the stream gets a little less.
_STREAM_SHARE = 0.9


@dataclass(slots=True)
class Health:
    """Why the door cannot accept now; None if it can."""

    draining: bool = False
    stream: str | None = "the stream has not been asked yet"

    @property
    def problem(self) -> str | None:
        return "shutting down" if self.draining else self.stream


class Ingest:
    def __init__(
        self,
        settings: Settings,
        keyring: Keyring,
        stream: Stream,
        clock: Clock,
        log: Log | None = None,
    ) -> None:
        limits = settings.ingest
        allowed = connections_allowed(limits.connections_max)
        if allowed < limits.connections_max:
            _log.warning("the system allows fewer connections", extra={"connections_max": allowed})
            limits = limits.model_copy(update={"connections_max": allowed})
        topic_name = topics.prefixed(settings.topics.prefix)
        self.metrics = Metrics()
        self.health = Health()
        self.heart = Heart(clock)
        self._settings = settings
        self._keyring = keyring
        self._stream = stream
        self._clock = clock
        self._log = log
        self._key_problems: list[str] = []
        self._tally = Tally(self.metrics)
        self._appender = Appender(
            stream,
            clock,
            wait_seconds=limits.answer_seconds * _STREAM_SHARE,
            bytes_max=limits.inflight_bytes_max,
            flush_records_max=limits.flush_records_max,
            flush_bytes_max=limits.flush_bytes_max,
            flush_interval_seconds=limits.flush_interval_ms / 1000,
        )
        sampler = Sampler(settings.log.refusals_per_second_max)
        self.door = Door(limits, keyring, self._appender, topic_name, self._tally, clock, sampler)

    @contextlib.asynccontextmanager
    async def serve(self, bind: str, *, share_port: bool = False) -> AsyncIterator[str]:
        """Open from entering to leaving the block; leaving drains. Yields the address bound."""
        loop = asyncio.get_running_loop()
        listener = listen(bind, share_port=share_port)
        server = await loop.create_server(
            lambda: Connection(self.door), sock=listener, backlog=_BACKLOG
        )
        watch = loop.create_task(self._watch(), name="watch")
        beat = loop.create_task(self.heart.beat(), name="heart")
        try:
            yield address_text(listener.getsockname())
        finally:
            server.close()
            await self.door.drain(self._settings.ingest.drain_seconds)
            await self._appender.close(self._settings.ingest.answer_seconds)
            for task in (watch, beat):
                task.cancel()
            await asyncio.gather(watch, beat, return_exceptions=True)

    async def retire(self) -> None:
        """Readiness off, then go on serving until whoever sends to us has noticed."""
        self.health.draining = True
        self.door.draining = True
        delay = self._settings.ingest.drain_delay_seconds
        _log.info("stopping", extra={"still_accepting_seconds": delay})
        await asyncio.sleep(delay)

    def routes(self) -> Mapping[str, Route]:
        return {
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics_page,
            "/refusals": self._refusals_page,
        }

    async def ready(self, stop: asyncio.Event) -> None:
        """Wait for the first readiness, or for the end."""
        while self.health.problem is not None and not await until(stop, 0.02):
            pass

    # Watching over it.

    async def _watch(self) -> None:
        """Ask the stream and look at keys and clock, again and again."""
        next_keys = 0.0
        while True:
            await self._ask_stream()
            now = self._clock.monotonic()
            if now >= next_keys:
                next_keys = now + self._settings.ingest.key_reload_seconds
                self._reload_keys()
            self._judge_clock()
            await asyncio.sleep(_LOOK_SECONDS if self.health.problem is None else 0.2)

    async def _ask_stream(self) -> None:
        before = self.health.stream
        try:
            await self._stream.check()
        except StreamError as error:
            self.health.stream = str(error) or type(error).__name__
        else:
            stuck = self._appender.stuck_seconds > self._settings.ingest.answer_seconds
            self.health.stream = "the stream does not answer" if stuck else None
        if self.health.stream != before:
            if self.health.stream is None:
                _log.info("ready: the stream accepts")
            else:
                _log.error("not ready: %s", self.health.stream)

    def _reload_keys(self) -> None:
        problems = [str(problem) for problem in self._keyring.reload()]
        if problems != self._key_problems:
            for problem in problems:
                _log.error("a key file is bad, its last good keys stay in force: %s", problem)
            if not problems:
                _log.info("every key file is good again")
        self._key_problems = problems
        self.metrics.key_files_bad.value = len(problems)

    def _judge_clock(self) -> None:
        # The least skew of a while: the network can only make a webhook look later, and a clock
        # that is wrong makes all of them look wrong.
        least, self._tally.skew_least = self._tally.skew_least, None
        if least is None:
            return
        suspect = abs(least) > self._settings.ingest.clock_skew_alarm_seconds
        if suspect and not self.metrics.clock_suspect.value:
            _log.error("this clock or Telnyx's is off", extra={"skew_seconds": round(least, 1)})
        self.metrics.clock_suspect.value = float(suspect)

    # Pages for probes and operators.

    def _livez(self) -> Page:
        silent = self.heart.silent_seconds
        if silent > self._settings.probe.loop_lag_seconds_max:
            return Page(f"the event loop was blocked for {silent:.1f} s\n".encode(), status=503)
        return Page(b"ok\n")

    def _readyz(self) -> Page:
        problem = self.health.problem
        return Page(b"ok\n") if problem is None else Page(f"{problem}\n".encode(), status=503)

    def _metrics_page(self) -> Page:
        metrics = self.metrics
        metrics.ready.value = float(self.health.problem is None)
        metrics.loop_lag.value = self.heart.lag_seconds
        metrics.ingest_connections.value = self.door.connections
        metrics.ingest_held_bytes.value = self.door.held_bytes
        if self._log is not None:
            metrics.log_dropped.value = self._log.dropped
        return Page(metrics.exposition(), METRICS_TYPE)

    async def _refusals_page(self) -> Page:
        """The last refusals explained; bodies stay here, only what they look like is shown."""
        refusals = list(self.door.refusals)
        accounts = dict(self._keyring.accounts)
        # In a thread: a hostile body takes long to explain, and the door must not wait for that.
        shown = await asyncio.to_thread(self._explain, refusals, accounts)
        return Page(json.dumps(shown).encode(), "application/json")

    def _explain(
        self, refusals: list[Refusal], accounts: Mapping[str, Keys]
    ) -> list[dict[str, object]]:
        tolerance = self._settings.ingest.timestamp_tolerance_seconds
        return [
            {
                "at": rfc3339(refusal.at),
                "reason": refusal.reason,
                "body_bytes": refusal.body_bytes,
                # A body cut short cannot be proven, so it is not tried.
                "report": as_dict(
                    explain(
                        "POST",
                        refusal.asked.target,
                        refusal.asked.headers,
                        refusal.body,
                        accounts,
                        refusal.at,
                        tolerance,
                    )
                )
                if len(refusal.body) == refusal.body_bytes
                else None,
            }
            for refusal in refusals
        ]


def listen(bind: str, *, share_port: bool) -> socket.socket:
    host, port = split_bind("ingest.bind", bind)
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except (OSError, UnicodeError) as error:
        raise Misconfigured("ingest.bind", f"cannot listen on {bind}: {reason(error)}") from None
    listener.setblocking(False)  # noqa: FBT003  # its only argument
    return listener
