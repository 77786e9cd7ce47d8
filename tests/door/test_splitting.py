"""TCP may cut a request anywhere: the answers are those of the uncut bytes."""

import asyncio
from itertools import pairwise

import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.door.rig import BODY, chunks, head, lines_of, numbered, rig, webhook

CHUNKED = head(*lines_of(length=False), "Transfer-Encoding: chunked")
PARTS = {
    "whole": webhook(),
    "another": webhook(numbered(2)),
    "chunked": CHUNKED + chunks(BODY, 1, 20),
    "forged": webhook(numbered(3)).replace(b"e-3", b"e-4"),
    "empty lines": b"\r\n\r\n",
    "last": head(*lines_of(), "Connection: close") + BODY,
    "old": head(*lines_of(), "Connection: keep-alive", version="HTTP/1.0") + BODY,
    "put": head(*lines_of(), method="PUT") + BODY,
    "nowhere": head(*lines_of(), target="/x") + BODY,
    "long target": head(*lines_of(), target="/" + "x" * 2_100) + BODY,
    "two lengths": head(*lines_of(), "Content-Length: 1") + BODY,
    "trailer": CHUNKED + chunks(BODY)[:-2] + b"a: b\r\n\r\n",
    "bad chunk": CHUNKED + b"5\r\nabcdefg\r\n0\r\n\r\n",
    "many headers": head(*lines_of(), *(f"h{number}: x" for number in range(101))) + BODY,
    "garbage": b"\x00\x01garbage\r\n\r\n",
    "unfinished": webhook()[:-5],
}
Outcome = tuple[list[int], set[bytes | None], dict[str, int]]


async def outcome(pieces: list[bytes]) -> Outcome:
    """The answers, what was kept, and the reasons of refusal."""
    async with rig() as door:
        wire = await door.wire()
        for piece in pieces:
            await wire.send(piece)
            await asyncio.sleep(0)  # so that each piece is likely to be read alone
        wire.close_half_if_open()
        statuses = [got.status for got in await wire.answers()]
        await door.until_empty()
        reasons = {
            reason: count for reason, count in door.metrics.ingest_refused.of.items() if count
        }
        # A set: a repeat still on its way to the stream is kept twice, and that depends on timing.
        return statuses, set(door.bodies), reasons


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


def run(pieces: list[bytes]) -> Outcome:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(outcome(pieces))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(sorted(PARTS)), min_size=1, max_size=4),
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_any_cut_of_any_requests_gives_the_same_answers(
    names: list[str], places: list[int]
) -> None:
    data = b"".join(PARTS[name] for name in names)
    assert run(cut(data, places)) == run([data])


def test_byte_by_byte_is_the_same_as_all_at_once() -> None:
    for name, data in PARTS.items():
        pieces = [data[place : place + 1] for place in range(len(data))]
        assert run(pieces) == run([data]), name
