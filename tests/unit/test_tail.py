"""What `tail` shows, and what it leaves out."""

import asyncio
import io
import re
import sys
from pathlib import Path

import orjson
import pytest

from trunkline import envelope, topics
from trunkline.cli.main import main
from trunkline.cli.tail import _follow, _Output
from trunkline.clock import rfc3339
from trunkline.console.lines import Filter, json_line, prove, text_line
from trunkline.envelope import Envelope, Label, Proof
from trunkline.events import samples
from trunkline.keys import DevelopmentKey
from trunkline.settings import TopicsSection
from trunkline.stream import Delivery, Headers, Record, Start
from trunkline.stream.memory import MemoryStream

KEY = DevelopmentKey(b"k" * 32)
NOW = 1_700_000_000.0
CALL = samples.make("call.initiated", number=1, now=NOW, session="session-1")


def headers_of(body: bytes, kind: str, *, key: str = "session-1", account: str = "acme") -> Headers:
    timestamp = str(int(NOW))
    signature = KEY.sign(timestamp, body).encode()
    proof = Proof(signature, timestamp.encode(), KEY.public)
    label = Label("event-1", kind, key, None)
    return envelope.write(label, proof, account, b"application/json", rfc3339(NOW), ())


def envelope_of(
    body: bytes = CALL, kind: str = "call.initiated", *, key: str = "session-1"
) -> Envelope:
    headers = headers_of(body, kind, key=key)
    return Envelope.of(Delivery("telnyx.calls", 3, 7, int(NOW * 1000), key.encode(), body, headers))


def bare(body: bytes | None, headers: Headers = ()) -> Envelope:
    """What another producer may have written."""
    return Envelope.of(Delivery("telnyx.calls", 0, 0, int(NOW * 1000), None, body, headers))


@pytest.mark.parametrize(
    ("wanted", "admitted"),
    [
        (Filter(), True),
        (Filter(kinds=("call.*",)), True),
        (Filter(kinds=("video.*", "*.initiated")), True),
        (Filter(kinds=("call",)), False),
        (Filter(key="session-1", account="acme"), True),
        (Filter(key="session-2"), False),
        (Filter(account="other"), False),
    ],
)
def test_a_filter_wants_all_it_names(wanted: Filter, *, admitted: bool) -> None:
    assert wanted.admits(envelope_of()) is admitted


def test_a_line_is_masked_unless_asked() -> None:
    numbers = re.findall(r"\+1\d{10}", CALL.decode())
    masked = text_line(envelope_of(), None, masked=True)
    assert not any(number in masked for number in numbers)
    assert masked.count("•••") == 2
    open_line = text_line(envelope_of(), None, masked=False)
    assert all(number in open_line for number in numbers)
    assert "call.initiated" in open_line
    assert "acme" in open_line


def test_a_line_of_json_is_the_event_with_its_place() -> None:
    line = orjson.loads(json_line(envelope_of(), None, masked=False))
    assert line == {
        "topic": "telnyx.calls",
        "partition": 3,
        "offset": 7,
        "id": "event-1",
        "type": "call.initiated",
        "key": "session-1",
        "account": "acme",
        "received_at": rfc3339(NOW),
        "event": orjson.loads(CALL),
    }
    masked = orjson.loads(json_line(envelope_of(), None, masked=True))
    assert masked["event"]["data"]["payload"]["caller_id_name"] == "•••"


def test_a_form_is_shown_by_its_fields() -> None:
    body = samples.texml(number=1, now=NOW)
    shown = envelope_of(body, envelope.TEXML)
    assert orjson.loads(json_line(shown, None, masked=False))["event"]["CallStatus"] == "completed"
    assert "→" in text_line(shown, None, masked=True)


@pytest.mark.parametrize(
    "shown",
    [
        bare(None),
        bare(b"\xff\x00"),
        bare(b"[]"),
        bare(b'{"data":{"payload":{"from":[],"to":{"phone_number":3}}}}'),
        bare(b"{}", (("tl-received-at", b"9999999"), ("ce_type", b"\xff"), ("ce_id", b""))),
    ],
)
@pytest.mark.parametrize("masked", [True, False])
def test_what_strangers_wrote_is_shown_too(shown: Envelope, *, masked: bool) -> None:
    proof = prove(shown, ())
    assert not proof.good
    assert "UNSIGNED" in text_line(shown, proof, masked=masked)
    assert orjson.loads(json_line(shown, proof, masked=masked))["proof"]["signed"] is False


def test_no_text_of_a_stranger_moves_the_cursor() -> None:
    evil = "\x1b[2J\r\n\x9b\u202e\x7f"
    body = orjson.dumps({"data": {"payload": {"from": evil, "to": evil}}})
    shown = bare(body, (("ce_type", evil.encode()), ("tl-account", evil.encode())))
    for line in (
        text_line(shown, None, masked=False),
        json_line(shown, None, masked=False),
    ):
        assert line.isprintable()
        assert "\u202e" not in line


def test_a_proof_tells_good_bad_and_unknown_keys_apart() -> None:
    known = {KEY.public.text}
    assert prove(envelope_of(), known).text == f"proven by {KEY.public.name}"
    assert prove(envelope_of(), ()).text.endswith("a key not in the settings")
    other = envelope_of()
    changed = Envelope.of(
        Delivery("t", 0, 0, 0, b"k", CALL.replace(b"incoming", b"outgoing"), other.delivery.headers)
    )
    assert prove(changed, known).text == f"NOT PROVEN by {KEY.public.name}"
    small_order = tuple(
        (name, b"A" * 43 + b"=" if name == "tl-key" else value)
        for name, value in other.delivery.headers
    )
    assert not prove(bare(CALL, small_order), known).good


async def test_raw_is_the_exact_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [CALL, b"\xff\x00 not text"]
    specs = topics.specs(TopicsSection(partitions=1))
    written = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", written)
    output = _Output(raw_end=b"\0", json=False, masked=True, known=None, left=2)
    async with MemoryStream(specs) as stream:
        await stream.append(
            [
                Record(topics.CALLS, b"k", body, headers_of(body, kind), int(NOW * 1000))
                for body, kind in zip((*bodies, CALL), ("a", "a", "a"), strict=True)
            ]
        )
        wanted, stop = Filter(), asyncio.Event()
        await _follow(stream, [topics.CALLS], Start.EARLIEST, wanted, output, stop)
    assert isinstance(written.buffer, io.BytesIO)
    assert written.buffer.getvalue() == b"".join(body + b"\0" for body in bodies)


def test_a_stream_that_is_not_there_is_a_sentence_and_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRUNKLINE_STREAM", "sqlite:///none/stream.db")
    assert main(["tail"]) == 3
    assert "there is no stream at" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["--topic", "nonsense"], ["--null"]])
def test_what_cannot_be_meant_is_a_usage_error(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tail", *words]) == 2
    assert words[0] in capsys.readouterr().err
