"""`trunkline up` as a newcomer runs it: one process, one page, and only true answers."""

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from ingest.app import Ingest
from tests.flow.upping import Up, post
from tests.load.process import HOST, DoorProcess
from trunkline import topics
from trunkline.clock import SystemClock
from trunkline.console.pages import url
from trunkline.envelope import SIGNATURE, TIMESTAMP, Envelope
from trunkline.keys import DevelopmentKey, Keyring
from trunkline.settings import (
    AccountSection,
    IngestSection,
    PublicKeyEntry,
    Settings,
    SqliteSection,
)
from trunkline.stream import Start
from trunkline.stream.memory import MemoryStream
from trunkline.stream.sqlite import SqliteStream
from trunkline.traffic.script import FORGERIES, Posting, Script
from trunkline.traffic.sender import Sender


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("up"), "--rate", "80", "--seconds", "120") as running:
        yield running


def test_the_page_moves_and_tells_forgeries_apart(up: Up) -> None:
    first = up.wait_for(lambda state: state["totals"]["accepted"] > 0)
    reasons = set(FORGERIES.values())
    state = up.wait_for(
        lambda state: (
            {found["reason"] for found in state["refusals"]} == reasons
            and state["totals"]["quarantined"] > 0
            and state["totals"]["duplicates"] > 0
            and len(state["accepted_series"]) > 1
        )
    )
    assert state["ready"]
    assert state["totals"]["accepted"] > first["totals"]["accepted"]
    assert sum(found["count"] for found in state["refusals"]) == state["totals"]["refused"]
    assert state["totals"]["unavailable"] == state["totals"]["gone"] == 0
    assert state["traffic"]["unexpected"] == state["traffic"]["unanswered"] == 0
    assert set(state["traffic"]["answers"]) == {"200", "401"}
    assert state["events"]
    assert not re.search(r"\+1\d{10}", orjson.dumps(state["events"]).decode())


def test_the_first_lines_say_where_everything_is(up: Up) -> None:
    banner = [line for line in up.log.splitlines() if not line.startswith("{")]
    text = "\n".join(banner)
    assert len(banner) <= 8
    for part in (f":{up.port}/webhooks/telnyx", f":{up.console_port}", "stream.db", "Ctrl-C"):
        assert part in text


def test_the_page_is_not_served_under_a_name_of_somebody_else(up: Up) -> None:
    with socket.create_connection((HOST, up.console_port), timeout=5) as wire:
        wire.sendall(b"GET /state.json HTTP/1.1\r\nHost: rebound.example\r\n\r\n")
        assert wire.recv(64).startswith(b"HTTP/1.1 421 ")


def test_tail_shows_what_arrives_masked_and_proven(up: Up) -> None:
    done = up.trunkline("tail", "--count", "5", "--kind", "call.*", "--prove")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
    assert done.stdout.count("proven by") == 5
    assert "5 of 5 events proven" in done.stderr
    assert not re.search(r"\+1\d{10}", done.stdout)


async def test_the_development_key_is_refused_by_every_other_process(up: Up) -> None:
    """A fresh event of `up`, with its own good signature, is a stranger's to `trunkline ingest`."""
    settings = {"TELNYX_PUBLIC_KEY": DevelopmentKey().public.text}
    with DoorProcess(up.folder / "other", "sqlite:///other.db", settings) as other:
        event = await _newest_event(up.folder / "var" / "stream.db")
        body = event.delivery.value or b""
        headers = {
            SIGNATURE: event.headers[SIGNATURE],
            TIMESTAMP: event.headers[TIMESTAMP],
            "content-type": event.headers["content-type"],
        }
        assert post(up.port, "/webhooks/telnyx", headers, body) == 200
        assert post(other.port, "/webhooks/telnyx", headers, body) == 401
        assert post(other.port, "/webhooks/telnyx/development", headers, body) == 404


async def _newest_event(path: Path) -> Envelope:
    settings = Settings()
    specs = topics.specs(settings.topics)
    async with SqliteStream(path, SqliteSection(), specs, SystemClock()) as stream:
        following = await stream.subscribe([topics.CALLS], Start.LATEST)
        while not (found := await following.fetch(1, 5)):
            pass
        await following.close()
    return Envelope.of(found[0])


def test_real_keys_work_beside_the_development_account(tmp_path: Path) -> None:
    real = DevelopmentKey()
    body = b'{"data":{"id":"real-1","event_type":"call.initiated","payload":{}}}'
    with Up(tmp_path, "--no-traffic", TELNYX_PUBLIC_KEY=real.public.text) as up:
        now = str(int(SystemClock.now()))
        headers = {SIGNATURE: real.sign(now, body), TIMESTAMP: now}
        assert post(up.port, "/webhooks/telnyx", headers, body) == 200
        assert post(up.port, "/webhooks/telnyx/development", headers, body) == 401
        state = up.wait_for(lambda state: state["events"])
        assert [event["account"] for event in state["events"]] == ["default"]
        assert state["traffic"] is None
        assert up.stop() == 0


def test_it_stops_by_itself_and_goes_on_where_it_was(tmp_path: Path) -> None:
    """Every 200 of both lives is in the stream, but for those known already."""
    kept = 0
    for _ in range(2):
        up = Up(tmp_path, "--rate", "100", "--seconds", "2")
        up.launch()
        assert up.wait() == 0
        *_, last = (line for line in up.log_lines() if line.get("message") == "webhooks")
        counts = {name: value for name, value in last.items() if isinstance(value, int)}
        assert counts["unavailable"] == 0
        assert counts["received"] == sum(
            counts[verdict] for verdict in ("accepted", "quarantined", "refused")
        )
        assert counts["stored"] > kept + counts["received"] // 2
        kept = counts["stored"]
    shown = up.trunkline("tail", "--from-start", "--json", "--count", str(kept))
    assert shown.returncode == 0, shown.stderr
    lines = [orjson.loads(line) for line in shown.stdout.splitlines()]
    assert len({(line["topic"], line["partition"], line["offset"]) for line in lines}) == kept
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["var"]


def test_a_taken_port_is_named_with_the_setting_that_moves_it(tmp_path: Path) -> None:
    for section in ("INGEST", "PROBE", "CONSOLE"):
        with socket.create_server((HOST, 0)) as taken:
            variable = f"TRUNKLINE_{section}_BIND"
            up = Up(tmp_path, **{variable: f"{HOST}:{taken.getsockname()[1]}"})
            up.launch()
            assert up.wait() == 2
            assert f"{section.lower()}.bind: cannot listen on" in up.log
            assert variable in up.log


async def test_every_200_to_the_traffic_is_in_the_stream_and_no_forgery_is() -> None:
    key, clock, stop = DevelopmentKey(), SystemClock(), asyncio.Event()
    account = AccountSection(name="development", public_key=(PublicKeyEntry(key=key.public.text),))
    settings = Settings(accounts=(account,), ingest=IngestSection(refusals_kept=0))
    heard: list[tuple[Posting, int | None]] = []

    def hear(posting: Posting, status: int | None) -> None:
        heard.append((posting, status))
        if len(heard) == 300:
            stop.set()

    async with MemoryStream(topics.specs(settings.topics)) as stream:
        ingest = Ingest(settings, Keyring.of(settings), stream, clock)
        async with ingest.serve(f"{HOST}:0") as address:
            host, _, port = (url(address) or "").removeprefix("http://").rpartition(":")
            sender = Sender(host, int(port), "/webhooks/telnyx/development", clock, hear)
            await ingest.ready(stop)
            await sender.run(Script(3, key, DevelopmentKey()).next, 400, stop)
        stored = {_first_attempt(delivery.value or b"") for delivery in stream.records}

    assert all(status == posting.status for posting, status in heard)
    # A repetition of what is durable is answered 200 and not kept a second time.
    assert {_first_attempt(posting.body) for posting, status in heard if status == 200} == stored
    tampered = [posting for posting, _ in heard if posting.intent == "forged: tampered body"]
    assert tampered
    assert not stored & {posting.body for posting in tampered}
    assert sender.sent.sent == sender.sent.answers.total() == len(heard)
    reasons = dict(ingest.metrics.ingest_refused.of)
    for posting, _ in heard:
        if posting.reason is not None:
            reasons[posting.reason] -= 1
    assert not any(reasons.values())


def _first_attempt(body: bytes) -> bytes:
    return body.replace(b'"attempt":2', b'"attempt":1')
