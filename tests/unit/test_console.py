"""What the page is told, and what `up` makes of settings."""

import asyncio
import math
from collections.abc import Mapping, Sequence

import orjson
import pytest

from ingest.app import Ingest
from tests.unit.test_tail import CALL, NOW, headers_of
from trunkline import topics
from trunkline.cli.up import at_home
from trunkline.clock import ManualClock
from trunkline.console import pages
from trunkline.console.board import Board
from trunkline.console.history import History, Sample, quantile, sample
from trunkline.console.newest import Newest
from trunkline.console.state import Addresses, StreamFacts, build
from trunkline.errors import Misconfigured, StreamUnavailable
from trunkline.keys import DevelopmentKey, Keyring
from trunkline.metrics import VERDICTS, Metrics
from trunkline.probe import serve
from trunkline.settings import (
    AccountSection,
    IngestSection,
    PublicKeyEntry,
    Settings,
    TelnyxSection,
    TopicsSection,
)
from trunkline.stream import Record
from trunkline.stream.memory import MemoryStream
from trunkline.traffic.sender import Sent

KEY = DevelopmentKey(b"k" * 32)
OTHER = DevelopmentKey(b"o" * 32)


def counted(at: float, accepted: int) -> Sample:
    return Sample(at, dict.fromkeys(VERDICTS, 0) | {"accepted": accepted})


@pytest.mark.parametrize(
    ("counts", "part", "expected"),
    [
        ((0, 0, 0), 0.5, None),
        ((10, 0, 0), 0.5, 0.5),
        ((0, 10, 0), 0.5, 1.5),
        ((5, 5, 0), 0.5, 1.0),
        ((0, 0, 10), 0.99, 2.0),
        ((99, 1, 0), 0.99, 1.0),
    ],
)
def test_a_quantile_lies_where_prometheus_would_put_it(
    counts: tuple[int, int, int], part: float, expected: float | None
) -> None:
    buckets = tuple(zip((1.0, 2.0, math.inf), counts, strict=True))
    assert quantile(buckets, part) == (None if expected is None else pytest.approx(expected))


def test_rates_follow_from_what_passed_between_two_looks() -> None:
    history = History(counted(0, 0))
    assert history.per_second() == 0
    history.add(counted(1, 20))
    history.add(counted(3, 80))
    assert history.series("accepted") == [20, 30]
    assert history.per_second() == pytest.approx(80 / 3)
    assert history.per_second(seconds=1) == 30
    assert history.quantile_ms(0.5) is None


def test_a_sample_keeps_its_figures_while_the_counters_go_on() -> None:
    metrics = Metrics()
    metrics.ingest_requests.of["accepted"] += 2
    metrics.ingest_seconds.observe(0.002)
    before = sample(metrics, 0)
    metrics.ingest_requests.of["accepted"] += 5
    metrics.ingest_refused.of["wrong_signature"] = 1
    metrics.ingest_seconds.observe(0.002)
    history = History(before)
    history.add(sample(metrics, 1))
    assert history.series("accepted") == [5]
    assert history.newest.refused == {"wrong_signature": 1}
    assert history.quantile_ms(0.99) == pytest.approx(2, abs=0.02)


def test_the_state_sums_the_stream_by_topic_and_ranks_reasons() -> None:
    newest = Sample(1, counted(1, 3).verdicts, refused={"b": 1, "a": 1, "c": 9})
    ends = {("x", 0): (5, 8), ("x", 1): (0, 0), ("y", 0): (0, 2)}
    state = build(
        now=NOW + 61,
        started_at=NOW,
        problem="the disk is full",
        history=History(newest),
        stream=StreamFacts("/data/stream.db", ends, 4096),
        events=[],
        events_problem=None,
        sent=Sent(),
        addresses=Addresses("http://door", "http://probe"),
    )
    plain = orjson.loads(orjson.dumps(state))
    assert plain["ready"] is False
    assert plain["problem"] == "the disk is full"
    assert plain["uptime_seconds"] == 61
    assert [found["reason"] for found in plain["refusals"]] == ["c", "a", "b"]
    assert plain["stream"]["stored"] == 5
    x, y = plain["stream"]["topics"]
    assert (x["records"], x["partitions"], x["last_offsets"]) == (3, 2, {"0": 7})
    assert y["last_offsets"] == {"0": 1}
    assert plain["metrics"] == "http://probe/metrics"
    assert plain["traffic"]["sent"] == 0


async def test_the_newest_events_come_from_the_stream_and_come_back_after_a_failure() -> None:
    stop = asyncio.Event()
    async with MemoryStream(topics.specs(TopicsSection(partitions=1))) as stream:
        newest = Newest(stream, ["telnyx.absent"])
        following = asyncio.create_task(newest.follow(stop))
        while newest.problem is None:  # noqa: ASYNC110  # the contract has no event for it
            await asyncio.sleep(0)
        assert "telnyx.absent" in newest.problem
        stop.set()
        await following

        stop.clear()
        newest = Newest(stream, topics.INGESTED)
        following = asyncio.create_task(newest.follow(stop))
        while not stream.storage.listeners:  # noqa: ASYNC110
            await asyncio.sleep(0)
        headers = headers_of(CALL, "call.initiated")
        for number in range(40):
            await stream.append([Record(topics.CALLS, b"%d" % number, CALL, headers, number)])
        while len(newest.events) < 30 or newest.events[0].key != "39":  # noqa: ASYNC110
            await asyncio.sleep(0)
        stop.set()
        await following
    assert [event.key for event in newest.events] == [str(n) for n in range(39, 9, -1)]
    assert "•••" in newest.events[0].sender


async def test_the_page_needs_nothing_from_elsewhere_and_answers_to_loopback_only() -> None:
    routes = pages.routes(lambda: {"ready": True})
    allowed = pages.hosts("127.0.0.1:8088")
    async with serve("console.bind", "127.0.0.1:0", routes, allowed) as address:
        html = await _get(address, "/", "localhost:8088")
        assert html.startswith("HTTP/1.1 200 ")
        assert "content-security-policy: default-src 'none'" in html
        body = html.partition("\r\n\r\n")[2]
        assert "http" not in body.replace("http://www.w3.org/2000/svg", "")
        assert "innerHTML" not in body
        assert (await _get(address, "/state.json", "127.0.0.1")).endswith('{"ready":true}')
        assert (await _get(address, "/", "evil.example")).startswith("HTTP/1.1 421 ")


async def _get(address: str, path: str, host: str) -> str:
    name, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer


def test_an_address_becomes_one_that_this_machine_can_open() -> None:
    assert pages.url("0.0.0.0:8080") == "http://127.0.0.1:8080"
    assert pages.url("::1:8080") == "http://[::1]:8080"
    assert pages.url("unix:/run/x") is None
    assert "192.0.2.1" in pages.hosts("192.0.2.1:8088")
    assert "[2001:db8::1]" in pages.hosts("[2001:db8::1]:8088")


def test_up_exposes_nothing_unless_told() -> None:
    home = at_home(Settings(), KEY.public)
    assert home.ingest.bind == "127.0.0.1:8080"
    assert home.probe.bind == "127.0.0.1:9090"
    assert home.ingest.drain_delay_seconds == 0
    given = Settings(ingest=IngestSection(bind="0.0.0.0:80", drain_delay_seconds=3))
    assert at_home(given, KEY.public).ingest == given.ingest


def test_the_development_key_stands_beside_real_ones() -> None:
    alone = Keyring.of(at_home(Settings(), KEY.public))
    assert alone.account_of_bare_path() == "development"
    real = Settings(telnyx=TelnyxSection(public_key=(PublicKeyEntry(key=OTHER.public.text),)))
    both = Keyring.of(at_home(real, KEY.public))
    assert both.account_of_bare_path() == "default"
    assert set(both.accounts) == {"default", "development"}
    taken = AccountSection(name="development", public_key=(PublicKeyEntry(key=OTHER.public.text),))
    with pytest.raises(Misconfigured, match="rename yours"):
        at_home(Settings(accounts=(taken,)), KEY.public)


class Forgetful(MemoryStream):
    """Can be asked where it ends until it is told to fail."""

    fails = False

    async def ends(self, topics: Sequence[str]) -> Mapping[tuple[str, int], tuple[int, int]]:
        if self.fails:
            raise StreamUnavailable("the disk is gone")
        return await super().ends(topics)


async def test_a_stream_that_fails_is_said_and_what_was_known_stays() -> None:
    settings = at_home(Settings(), KEY.public)
    clock = ManualClock()
    async with Forgetful(topics.specs(settings.topics)) as stream:
        record = Record(topics.CALLS, b"k", CALL, headers_of(CALL, "call.initiated"), 1)
        await stream.append([record])
        ingest = Ingest(settings, Keyring.of(settings), stream, clock)
        board = Board(ingest, stream, topics.INGESTED, "memory", None, clock)
        for problem in (None, "the disk is gone"):
            stream.fails = problem is not None
            await board.look(quiet=True)
            shown = orjson.loads(orjson.dumps(board.state()))["stream"]
            assert (shown["problem"], shown["stored"]) == (problem, 1)
