"""HTTP that could mean two things means nothing here: answered 400, connection ended."""

import pytest

from tests.door.rig import BODY, Got, chunks, head, lines_of, numbered, rig, sign, webhook

SMUGGLED = webhook(numbered(666))
LENGTH = f"Content-Length: {len(BODY)}"
SIGNATURE, TIMESTAMP = lines_of()[1:3]
PROOF = ["Host: x", SIGNATURE, TIMESTAMP]
CHUNKED = "Transfer-Encoding: chunked"

AMBIGUOUS = {
    "length and chunked": head(*PROOF, LENGTH, CHUNKED) + chunks(BODY),
    "chunked and length": head(*PROOF, CHUNKED, LENGTH) + chunks(BODY),
    "two lengths, different": head(*PROOF, LENGTH, "Content-Length: 3") + BODY,
    "two lengths, equal": head(*PROOF, LENGTH, LENGTH) + BODY,
    "a list of lengths": head(*PROOF, f"{LENGTH}, {len(BODY)}") + BODY,
    "negative length": head(*PROOF, "Content-Length: -5") + BODY,
    "plus length": head(*PROOF, f"Content-Length: +{len(BODY)}") + BODY,
    "hex length": head(*PROOF, "Content-Length: 0x10") + BODY,
    "no length": head(*PROOF, "Content-Length:") + BODY,
    "length beyond 64 bits": head(*PROOF, "Content-Length: 99999999999999999999999") + BODY,
    "coding not at the end": head(*PROOF, "Transfer-Encoding: chunked, gzip") + chunks(BODY),
    "coding before chunked": head(*PROOF, "Transfer-Encoding: gzip, chunked") + chunks(BODY),
    "coding unknown": head(*PROOF, "Transfer-Encoding: xchunked") + chunks(BODY),
    "coding identity": head(*PROOF, "Transfer-Encoding: identity", LENGTH) + BODY,
    "chunked twice": head(*PROOF, CHUNKED, CHUNKED) + chunks(BODY),
    "chunked in HTTP/1.0": head(*PROOF, CHUNKED, version="HTTP/1.0") + chunks(BODY),
    "bare LF": head(*PROOF, LENGTH).replace(b"\r\n", b"\n") + BODY,
    "bare LF after a header": head(*PROOF, LENGTH).replace(b"x\r\n", b"x\n") + BODY,
    "bare LF at the end of the head": head(*PROOF, LENGTH)[:-2] + b"\n" + BODY,
    "bare CR in a header": head(*PROOF, LENGTH, "a: b\rc") + BODY,
    "a folded header": head(*PROOF, LENGTH, "a: b\r\n c") + BODY,
    "a folded first header": head(" a: b", *PROOF, LENGTH) + BODY,
    "no Host": head(SIGNATURE, TIMESTAMP, LENGTH) + BODY,
    "an empty Host": head("Host:", SIGNATURE, TIMESTAMP, LENGTH) + BODY,
    "two Hosts": head("Host: y", *PROOF, LENGTH) + BODY,
    "space before the colon": head(*PROOF, LENGTH.replace(":", " :")) + BODY,
    "NUL in a header": head(*PROOF, LENGTH, "a: b\0c") + BODY,
    "NUL in a header's name": head(*PROOF, LENGTH, "a\0: b") + BODY,
    "a header without a name": head(*PROOF, LENGTH, ": b") + BODY,
    "a header without a colon": head(*PROOF, LENGTH, "nonsense") + BODY,
    "chunk size garbage": head(*PROOF, CHUNKED) + b"zz\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size negative": head(*PROOF, CHUNKED) + b"-1\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size in 0x": head(*PROOF, CHUNKED) + b"0x5\r\nabcde\r\n0\r\n\r\n",
    "chunk size beyond 64 bits": head(*PROOF, CHUNKED) + b"f" * 17 + b"\r\nabc",
    "chunk longer than its size": head(*PROOF, CHUNKED) + b"3\r\nabcdef\r\n0\r\n\r\n",
    "chunk ended by bare LF": head(*PROOF, CHUNKED) + b"3\nabc\n0\n\n",
    "a trailer": head(*PROOF, CHUNKED) + chunks(BODY)[:-2] + b"a: b\r\n\r\n",
    "a signature in a trailer": head("Host: x", TIMESTAMP, CHUNKED)
    + chunks(BODY)[:-2]
    + SIGNATURE.encode()
    + b"\r\n\r\n",
    "two signatures": head(*PROOF, SIGNATURE, LENGTH) + BODY,
    "two signatures, one empty": head(*PROOF, "telnyx-signature-ed25519:", LENGTH) + BODY,
    "two signatures in different case": head(*PROOF, SIGNATURE.title(), LENGTH) + BODY,
    "two timestamps": head(*PROOF, TIMESTAMP, LENGTH) + BODY,
    "HTTP/0.9": b"POST /webhooks/telnyx\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0": head(*PROOF, LENGTH, version="HTTP/2.0") + BODY,
    "HTTP/1.2": head(*PROOF, LENGTH, version="HTTP/1.2") + BODY,
    "HTTP/3": head(*PROOF, LENGTH, version="HTTP/3.0") + BODY,
    "no version": head(*PROOF, LENGTH, version="") + BODY,
    "a method in lower case": head(*PROOF, LENGTH, method="post") + BODY,
    "a method of nobody's": head(*PROOF, LENGTH, method="ZAP") + BODY,
    "a tab for a space": b"POST\t/webhooks/telnyx HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space in the target": head(*PROOF, LENGTH, target="/webhooks/telnyx x") + BODY,
    "an upgrade": head(*PROOF, LENGTH, "Connection: Upgrade", "Upgrade: websocket") + BODY,
    "an upgrade to HTTP/2": head(
        *PROOF, LENGTH, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"
    )
    + BODY,
    "a tunnel": head(*PROOF, method="CONNECT", target="door.example:443"),
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
async def test_what_could_mean_two_things_is_refused_and_nothing_is_smuggled_behind_it(
    case: str,
) -> None:
    async with rig() as door:
        got = await door.ask_all(AMBIGUOUS[case] + SMUGGLED)
        assert [one.status for one in got] == [400]
        assert got[0].headers["connection"] == "close"
        assert door.bodies == []
        assert door.count("refused") == door.received == 1


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head(*lines_of(), "Expect: 200-ok") + BODY, 417),
        (head(*lines_of(), target="/webhooks/telnyx?" + "x" * 8_192) + BODY, 414),
        (head(*lines_of(), "a: " + "x" * 200_000) + BODY, 431),
        (head(*lines_of(), "x" * 200_000 + ": a") + BODY, 431),
        (head(*lines_of(), *(f"h{number}: x" for number in range(2_000))) + BODY, 431),
        (head(*lines_of(), *(f"h{number}: x" for number in range(101))) + BODY, 431),
        (head(*lines_of(), method="PUT") + BODY, 405),
        (head(*lines_of(), target="/nowhere") + BODY, 404),
        (head(*lines_of(), "Content-Encoding: gzip") + BODY, 415),
        (head("Host: x", "Content-Length: 2000000"), 413),
    ],
)
async def test_a_refused_request_ends_its_connection_and_nothing_behind_it_is_read(
    data: bytes, status: int
) -> None:
    async with rig() as door:
        got = await door.ask_all(data + SMUGGLED)
        assert [one.status for one in got] == [status]
        assert got[0].headers["connection"] == "close"
        assert door.bodies == []
        assert door.count("refused") == door.received == 1


ACCEPTED = {
    "chunks of one byte": head(*PROOF, CHUNKED) + chunks(BODY, *[1] * len(BODY)),
    "a chunk extension": head(*PROOF, CHUNKED)
    + chunks(BODY).replace(b"\r\n", b";name=value\r\n", 1),
    "leading zeros of a chunk size": head(*PROOF, CHUNKED) + b"0000" + chunks(BODY),
    "chunk size in capitals": head(*PROOF, CHUNKED) + chunks(BODY).upper()[:4] + chunks(BODY)[4:],
    "CHUNKED": head(*PROOF, CHUNKED.replace("chunked", "CHUNKED")) + chunks(BODY),
    "header names in capitals": head("HOST: x", *(one.upper() for one in (LENGTH,)), *PROOF[1:])
    + BODY,
    "no space after the colon": head(*(one.replace(": ", ":") for one in [*PROOF, LENGTH])) + BODY,
    "tabs after the colon": head(*(one.replace(": ", ":\t \t") for one in [*PROOF, LENGTH])) + BODY,
    "an empty line first": b"\r\n\r\n" + head(*PROOF, LENGTH) + BODY,
    "HTTP/1.0": head(*PROOF, LENGTH, version="HTTP/1.0") + BODY,
    "HTTP/1.0 without Host": head(SIGNATURE, TIMESTAMP, LENGTH, version="HTTP/1.0") + BODY,
    "an upgrade nobody asked to connect": head(*PROOF, LENGTH, "Upgrade: h2c") + BODY,
    "two spaces before the target": head(*PROOF, LENGTH, method="POST ") + BODY,
    "a space behind CHUNKED": head(*PROOF, CHUNKED + " ") + chunks(BODY),
    "zeros before the length": head(*PROOF, f"Content-Length: 000{len(BODY)}") + BODY,
}


@pytest.mark.parametrize("case", ACCEPTED)
async def test_what_is_unusual_but_clear_is_accepted(case: str) -> None:
    async with rig() as door:
        got = await door.ask(ACCEPTED[case])
        assert got.status == 200
        assert door.bodies == [BODY]


async def test_spaces_behind_a_header_are_not_part_of_it() -> None:
    async with rig() as door:
        lines = [one + " \t" for one in [*PROOF, LENGTH]]
        assert (await door.ask(head(*lines) + BODY)).status == 200


async def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    async with rig() as door:
        wire = await door.wire()
        await wire.send(head(*lines_of(), "Expect: 100-Continue"))
        assert await wire.answer() == Got(100, {}, b"")
        await wire.send(BODY)
        assert (await wire.answer()).status == 200


async def test_nobody_is_told_to_go_on_with_what_will_be_refused() -> None:
    async with rig() as door:
        for lines, status in (
            (["Host: x", "Content-Length: 1000001"], 413),
            ([*lines_of(), "Content-Encoding: gzip"], 415),
        ):
            got = await door.ask_all(head(*lines, "Expect: 100-continue"))
            assert [one.status for one in got] == [status]


async def test_trace_context_is_carried_if_it_is_one() -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01"
    async with rig() as door:
        for number, value in enumerate((parent, zero, parent + "-x")):
            body = numbered(number)
            lines = [*lines_of(body), f"traceparent: {value}", "tracestate: a=b"]
            assert (await door.ask(head(*lines) + body)).status == 200
        carried = [dict(one.headers).get("traceparent") for one in door.stream.records]
        assert carried == [parent.encode(), None, None]


async def test_headers_may_come_in_any_order_and_case() -> None:
    async with rig() as door:
        for number in range(6):
            body = numbered(number)
            lines = [*lines_of(body), "User-Agent: x", "Content-Type: application/json"]
            turned = lines[number:] + lines[:number]
            name, colon, value = turned[0].partition(":")
            turned[0] = name.swapcase() + colon + value
            assert (await door.ask(head(*turned) + body)).status == 200
        assert len(door.bodies) == 6


async def test_the_proof_covers_the_body_however_it_is_framed() -> None:
    """A proxy may stream what it received whole, but not one byte of it may differ."""
    async with rig() as door:
        streamed = head(*lines_of(length=False), CHUNKED)
        assert (await door.ask(streamed + chunks(BODY + b" "))).status == 401
        assert (await door.ask(streamed + chunks(BODY[:-1]))).status == 401
        assert (await door.ask(streamed + chunks(BODY, 7, 11))).status == 200
        assert sign(BODY) == sign(BODY)


async def test_a_large_head_is_refused_behind_another_request_and_in_pieces_too() -> None:
    large = head(*lines_of(), "a: " + "x" * 20_000) + BODY
    async with rig() as door:
        wire = await door.wire()
        await wire.send(webhook() + large[:-600])
        assert (await wire.answer()).status == 200
        await wire.send(large[-600:])
        assert [one.status for one in await wire.answers()] == [431]
        assert door.refused("headers_too_large") == 1
