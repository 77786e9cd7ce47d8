"""The door: what all connections share, the verdict of each request, and how it closes for good."""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from ingest import answers
from ingest.answers import Fault
from ingest.connection import Connection
from ingest.gate import FUTURE, STALE, Admit, Refuse, Webhook, authentic, judge
from ingest.head import PATH, Asked
from ingest.reply import Reply
from ingest.tally import Tally
from trunkline.clock import Clock
from trunkline.errors import RecordRefused, StreamError
from trunkline.keys import Keyring
from trunkline.log import Sampler
from trunkline.settings import IngestSection
from trunkline.stream.appender import Appender

_log = logging.getLogger("trunkline.ingest")
_SWEEP_SECONDS = 0.25
_KEPT_BODY_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused request, kept a while so that an operator can ask why."""

    at: float
    reason: str
    asked: Asked
    body: bytes  # its beginning, if it is long
    body_bytes: int


class Door:
    def __init__(
        self,
        limits: IngestSection,
        keyring: Keyring,
        appender: Appender,
        topic_name: Callable[[str], str],
        tally: Tally,
        clock: Clock,
        refusal_log: Sampler,
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.draining = False
        self.refusals: deque[Refusal] = deque(maxlen=limits.refusals_kept)
        self._keyring = keyring
        self._appender = appender
        self._topic_name = topic_name
        self._tally = tally
        self._refusal_log = refusal_log
        self._unavailable = answers.unavailable(limits.retry_after_seconds)
        self._crowded = Fault("crowded", self._unavailable)
        self._connections: OrderedDict[Connection, None] = OrderedDict()  # longest quiet first
        self._receiving: OrderedDict[Connection, None] = OrderedDict()  # oldest body first
        self._receiving_bytes = 0
        self._durable: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._suspected_at = 0.0
        self._sweeping: asyncio.TimerHandle | None = None
        self.paths = {PATH + b"/" + name.encode(): name for name in keyring.accounts}
        if (bare := keyring.account_of_bare_path()) is not None:
            self.paths[PATH] = bare

    # Connections come and go.

    def joined(self, connection: Connection) -> None:
        if len(self._connections) >= self.limits.connections_max and not self._evict():
            self._tally.evicted()
            connection.abort()
            return
        self._connections[connection] = None
        if self._sweeping is None:
            self._sweep()

    def left(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        self._receiving.pop(connection, None)

    def active(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.move_to_end(connection)

    def _evict(self) -> bool:
        """Drop who has been quiet longest; False if the webhooks of all are on their way."""
        for connection in self._connections:
            if not connection.waiting():
                self.left(connection)
                self._tally.evicted()
                connection.abort()
                return True
        return False

    def _sweep(self) -> None:
        now = self.clock.monotonic()
        for connection in [c for c in self._connections if c.deadline <= now]:
            connection.expire()
        self._sweeping = (
            asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)
            if self._connections
            else None
        )

    # Bodies arrive. What they hold while unfinished is bounded; the oldest unfinished one loses,
    # so a few clients that send slowly cannot fill the room for those who send.

    def received(self, connection: Connection, size: int) -> None:
        self._receiving.setdefault(connection)
        self._receiving_bytes += size
        while self._receiving_bytes > self.limits.receiving_bytes_max:
            oldest = next(iter(self._receiving))
            if oldest is connection:
                raise self._crowded
            self._tally.evicted()
            oldest.refuse(self._crowded)
            self._receiving.pop(oldest, None)  # one that is closing by itself refuses nothing

    def released(self, connection: Connection, size: int) -> None:
        self._receiving_bytes -= size
        self._receiving.pop(connection, None)

    @property
    def held_bytes(self) -> int:
        return self._receiving_bytes + self._appender.bytes_held

    @property
    def connections(self) -> int:
        return len(self._connections)

    # Requests end.

    def handle(self, webhook: Webhook, asked: Asked, reply: Reply) -> None:
        now = self.clock.now()
        verdict = judge(
            webhook,
            self._keyring.accounts[webhook.account],
            now,
            self.limits.timestamp_tolerance_seconds,
            self._topic_name,
        )
        if isinstance(verdict, Refuse):
            self._tally.refused(verdict.reason)
            self._keep(now, verdict.reason, asked, webhook.body)
            if verdict in (STALE, FUTURE):
                self._suspect_clock(webhook, now)
            reply.give(answers.UNAUTHORIZED)
        else:
            self._admit(webhook.account, verdict, reply)

    def _suspect_clock(self, webhook: Webhook, now: float) -> None:
        """An authentic webhook out of its time may mean that this clock is wrong.

        Looked at once a second at most: a flood of forged ones must not buy a proof each.
        """
        if abs(now - self._suspected_at) >= 1:
            self._suspected_at = now
            if authentic(webhook, self._keyring.accounts[webhook.account]):
                self._tally.skewed(now - int(webhook.timestamp or b"0"))

    def _admit(self, account: str, verdict: Admit, reply: Reply) -> None:
        label = verdict.label
        self._tally.proven(verdict.key.name, verdict.skew_seconds)
        identity = (account, label.type, label.id)
        if identity in self._durable:
            self._durable.move_to_end(identity)
            self._tally.duplicate()
            self._answer(reply, None, label.unreadable)
            return

        def done(error: StreamError | None) -> None:
            if error is None:
                self._remember(identity)
            self._answer(reply, error, label.unreadable)

        self._appender.offer(verdict.record, done)

    def _remember(self, identity: tuple[str, str, str]) -> None:
        self._durable[identity] = None
        if len(self._durable) > self.limits.dedupe_entries_max:
            self._durable.popitem(last=False)

    def _answer(self, reply: Reply, error: StreamError | None, unreadable: str | None) -> None:
        seconds = self.clock.monotonic() - reply.since
        if error is None:
            if reply.give(answers.OK):
                self._tally.admitted(seconds, unreadable)
            return
        if isinstance(error, RecordRefused):
            self._complain(error)
        if reply.give(self._unavailable):
            self._tally.unavailable(seconds)

    def _complain(self, error: RecordRefused) -> None:
        # Never a 200 and never forgotten: Telnyx keeps trying while an operator mends the topic.
        if self._refusal_log.admit("record_refused", self.clock.monotonic()) is not None:
            _log.error("the stream can never take a webhook: %s", error)

    def refused(self, fault: Fault, asked: Asked, reply: Reply) -> None:
        if fault is self._crowded:
            self._tally.unavailable(0.0)
        else:
            self._tally.refused(fault.reason)
            self._keep(self.clock.now(), fault.reason, asked, b"")
        reply.give(fault.answer)

    def gone(self) -> None:
        self._tally.gone()

    def _keep(self, now: float, reason: str, asked: Asked, body: bytes) -> None:
        self.refusals.append(Refusal(now, reason, asked, body[:_KEPT_BODY_BYTES], len(body)))
        suppressed = self._refusal_log.admit(reason, self.clock.monotonic())
        if suppressed is not None:
            _log.warning(
                "refused a request",
                extra={
                    "reason": reason,
                    "target": asked.target[:100],
                    "body_bytes": len(body),
                    "like_it_not_logged": suppressed,
                },
            )

    # The door closes.

    async def drain(self, seconds: float) -> None:
        """Answer what is open, send idle clients away, wait for the rest at most this long."""
        self.draining = True
        deadline = self.clock.monotonic() + seconds
        while self._connections and self.clock.monotonic() < deadline:
            for connection in list(self._connections):
                if connection.idle():
                    connection.close()
            await asyncio.sleep(_SWEEP_SECONDS / 10)
        for connection in list(self._connections):
            connection.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()
