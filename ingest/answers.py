"""The door's answers, built once: what is not 200, 401 or 503 also ends the connection."""

from http import HTTPStatus

_CLOSE = b"connection: close\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _head(status: int, body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
    if body:
        lines.append(b"content-type: application/json")
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), *headers, b""])


class Answer:
    """An answer in its two forms: keeping the connection, and ending it."""

    __slots__ = ("closing", "keeping", "status")

    def __init__(self, status: int, body: bytes = b"", *headers: bytes) -> None:
        head = _head(status, body, *headers)
        self.status = status
        self.keeping = head + b"\r\n" + body
        self.closing = head + _CLOSE + b"\r\n" + body


OK = Answer(200)
# One body for every reason: who forges learns nothing of what to try next.
UNAUTHORIZED = Answer(401, b'{"error":"not authentic"}')


def unavailable(retry_after_seconds: int) -> Answer:
    return Answer(503, b'{"error":"try again"}', b"retry-after: %d" % retry_after_seconds)


class Fault(Exception):
    """A request that is answered before or without judging it: the reason is a metric's label."""

    def __init__(self, reason: str, answer: Answer) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answer = answer


def _fault(reason: str, status: int, *headers: bytes) -> Fault:
    return Fault(reason, Answer(status, b'{"error":"%s"}' % reason.encode(), *headers))


MALFORMED = _fault("malformed_http", 400)
NO_HOST = _fault("missing_host", 400)
DUPLICATE = _fault("duplicate_header", 400)
PIPELINED = _fault("too_many_pipelined", 400)
UNKNOWN_PATH = _fault("unknown_path", 404)
UNKNOWN_ACCOUNT = _fault("unknown_account", 404)
METHOD = _fault("method", 405, b"allow: POST")
HEADERS_LATE = _fault("headers_late", 408)
BODY_LATE = _fault("body_late", 408)
BODY_LARGE = _fault("body_too_large", 413)
TARGET_LONG = _fault("target_too_long", 414)
ENCODED = _fault("content_encoding", 415)
EXPECTATION = _fault("expectation", 417)
HEADERS_LARGE = _fault("headers_too_large", 431)

FAULTS = tuple(
    fault.reason
    for fault in (
        MALFORMED,
        NO_HOST,
        DUPLICATE,
        PIPELINED,
        UNKNOWN_PATH,
        UNKNOWN_ACCOUNT,
        METHOD,
        HEADERS_LATE,
        BODY_LATE,
        BODY_LARGE,
        TARGET_LONG,
        ENCODED,
        EXPECTATION,
        HEADERS_LARGE,
    )
)
