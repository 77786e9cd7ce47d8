"""One client connection: strict HTTP/1 in, answers out in the order of their requests.

httptools parses and refuses what is malformed by itself; the limits, deadlines and refusals it
leaves to its user are here. Whatever cannot be kept open safely is answered and closed.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from ingest import answers
from ingest.answers import Fault
from ingest.gate import Webhook
from ingest.head import Asked, Head, judge_head
from ingest.reply import Reply

if TYPE_CHECKING:
    from ingest.door import Door

_FOREVER = float("inf")
_PIPELINED_MAX = 32
_LINGER_SECONDS = 1.0
_LINGER_BYTES_MAX = 1_048_576


class Connection(asyncio.Protocol):
    def __init__(self, door: "Door") -> None:
        self._door = door
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._replies: deque[Reply] = deque()
        self.deadline = _FOREVER
        self.lingering = False
        self.paused = False
        self.receiving = False  # between a request's first byte and its last
        self._half_closed = False
        self._ending = False  # the last request has been heard; what follows is nobody's business
        self._linger_bytes = 0
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head: Head | None = None
        self._head_bytes = 0
        self._pipelined = False
        self._body: list[bytes] = []
        self._body_bytes = 0

    # What asyncio tells us.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's in all but their class.
        self._transport = cast("asyncio.Transport", transport)
        self.deadline = self._door.clock.monotonic() + self._door.limits.idle_seconds
        self._door.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self._release()
        if self.receiving:
            self._door.gone()
        self._forget_replies()
        self._door.left(self)

    def data_received(self, data: bytes) -> None:
        if self.lingering:
            self._linger_bytes += len(data)
            if self._linger_bytes > _LINGER_BYTES_MAX:
                self.abort()
            return
        self._door.active(self)
        if self._ending:
            return
        if not self.receiving:
            data = data.lstrip(b"\r\n")  # some clients end a body with an empty line of their own
            if not data:
                return
            self._begin()
        try:
            self._parse(data)
        except Fault as fault:
            self.refuse(fault)
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, Fault):
                raise
            self.refuse(error.__context__)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError):
            self.refuse(answers.MALFORMED)

    def _parse(self, data: bytes) -> None:
        if self._head is None:
            self._head_bytes += len(data)
        self._parser.feed_data(data)
        # Fields the parser has not finished are not counted anywhere else.
        if self._head is None and self._head_bytes > self._door.limits.header_bytes_max:
            raise answers.HEADERS_LARGE

    def eof_received(self) -> bool:
        # A client may close its half and still read its answers; keep ours open while any is due.
        self._half_closed = True
        return bool(self._replies)

    def pause_writing(self) -> None:
        # It sends requests and reads no answers: give it a deadline, and hear no more meanwhile.
        if self._transport is not None and not self.paused:
            self.paused = True
            self._transport.pause_reading()
            self.deadline = self._door.clock.monotonic() + self._door.limits.body_seconds

    def resume_writing(self) -> None:
        if self._transport is not None and self.paused:
            self.paused = False
            self._transport.resume_reading()
            self._rest()

    # What the parser tells us.

    def on_message_begin(self) -> None:
        if self._ending:
            raise answers.PIPELINED  # heard by nobody: it ends the parsing
        if not self.receiving:  # its bytes are counted only from the next chunk on
            self._begin()
            self._pipelined = True

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > self._door.limits.target_bytes_max:
            raise answers.TARGET_LONG

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is not None:
            raise answers.MALFORMED  # a trailer: nothing we accept has any use for one
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        limits = self._door.limits
        if len(self._headers) > limits.header_count_max:
            raise answers.HEADERS_LARGE
        # All bytes heard since the request began are a cheap bound; the sum is exact.
        if (self._pipelined or self._head_bytes > limits.header_bytes_max) and (
            sum(len(n) + len(v) + 4 for n, v in self._headers) > limits.header_bytes_max
        ):
            raise answers.HEADERS_LARGE
        if self._parser.should_upgrade():
            raise answers.MALFORMED
        self._head = judge_head(
            self._parser.get_method(),
            self._parser.get_http_version(),
            self._target,
            self._headers,
            self._door.paths,
            limits.body_bytes_max,
        )
        self.deadline = self._door.clock.monotonic() + limits.body_seconds
        if self._head.continues and self._transport is not None:
            self._transport.write(answers.CONTINUE)

    def on_body(self, chunk: bytes) -> None:
        self._body.append(chunk)
        self._body_bytes += len(chunk)
        self._door.received(self, len(chunk))
        if self._body_bytes > self._door.limits.body_bytes_max:
            raise answers.BODY_LARGE

    def on_message_complete(self) -> None:
        head = self._head
        assert head is not None
        if len(self._replies) >= _PIPELINED_MAX:
            raise answers.PIPELINED
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        asked = Asked(self._target, self._headers)
        self.receiving = False
        self._release()
        self._reset()
        if not self.paused:  # then its deadline is for reading answers
            self.deadline = _FOREVER  # from here the door bounds the answer
        keep = head.keepable and self._parser.should_keep_alive() and not self._half_closed
        reply = Reply(self.send_ready, self._door.clock.monotonic(), keep=keep)
        self._replies.append(reply)
        self._ending = not keep
        field = head.fields.get
        webhook = Webhook(
            head.account,
            field(b"telnyx-signature-ed25519"),
            field(b"telnyx-timestamp"),
            field(b"content-type"),
            field(b"traceparent"),
            field(b"tracestate"),
            body,
        )
        self._door.handle(webhook, asked, reply)

    # What we do.

    def _begin(self) -> None:
        self.receiving = True
        self.deadline = self._door.clock.monotonic() + self._door.limits.headers_seconds

    def _release(self) -> None:
        if self._body_bytes:
            self._door.released(self, self._body_bytes)
            self._body_bytes = 0

    def _forget_replies(self) -> None:
        for reply in self._replies:
            reply.forgotten = True
            if reply.answer is None:
                self._door.gone()
        self._replies.clear()

    def _rest(self) -> None:
        """Nothing is under way: the connection may wait for its next request."""
        if not self.receiving and not self._replies and not self.paused:
            self.deadline = self._door.clock.monotonic() + self._door.limits.idle_seconds

    def send_ready(self) -> bool:
        """Write every answer whose turn has come."""
        transport = self._transport
        if transport is None:
            return False
        while self._replies and (answer := self._replies[0].answer) is not None:
            reply = self._replies.popleft()
            if not reply.keep or self._door.draining:
                transport.write(answer.closing)
                self._linger()
                return True
            transport.write(answer.keeping)
        if self._half_closed and not self._replies:
            transport.close()
        self._rest()
        return True

    def refuse(self, fault: Fault) -> None:
        """Answer what was not judged, after the answers still due, and end the connection."""
        if self._ending or self._transport is None or self._transport.is_closing():
            return
        self._ending = True
        now = self._door.clock.monotonic()
        asked = Asked(self._target, self._headers)
        self.receiving = False
        self._release()
        self._reset()
        self.deadline = _FOREVER
        reply = Reply(self.send_ready, now, keep=False)
        self._replies.append(reply)
        self._transport.pause_reading()
        self._door.refused(fault, asked, reply)

    def _linger(self) -> None:
        """Half-close, then read on a while: closing on unread bytes would reset the answer away."""
        transport = self._transport
        assert transport is not None
        self._forget_replies()
        if self.receiving:
            self._door.gone()
            self.receiving = False
            self._release()
        self.lingering = self._ending = True
        self.deadline = self._door.clock.monotonic() + _LINGER_SECONDS
        transport.write_eof()
        transport.resume_reading()

    def expire(self) -> None:
        """The deadline has passed."""
        if self.lingering or self.paused:
            self.abort()
        elif self.receiving:
            self.refuse(answers.HEADERS_LATE if self._head is None else answers.BODY_LATE)
        elif self._transport is not None:
            self._transport.close()

    def idle(self) -> bool:
        return not self.receiving and not self._replies and not self.lingering

    def waiting(self) -> bool:
        return bool(self._replies)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
