"""`trunkline dead`, as an operator runs it on letters that the worker wrote."""

import asyncio
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flow.shell import Shell, append, read
from tests.kafka_server import shared_server
from tests.load.process import free_port
from trunkline import envelope, topics
from trunkline.clock import SystemClock, rfc3339
from trunkline.envelope import Label, Proof
from trunkline.events import samples
from trunkline.keys import DevelopmentKey
from trunkline.stream import Delivery, Headers, Record
from trunkline.worker import letters
from trunkline.worker.retries import Trouble

KEY = DevelopmentKey()
NOW = SystemClock.now()
HOUR = 3_600
EVIL = b"\x1b[2J\xff not json, from=+13125550188"


def headers_of(body: bytes, number: int) -> Headers:
    signed = str(int(NOW))
    proof = Proof(KEY.sign(signed, body).encode(), signed.encode(), KEY.public)
    label = Label(f"event-{number}", "call.initiated", f"session-{number}", None)
    kept = envelope.write(label, proof, "acme", b"application/json", rfc3339(NOW), ())
    return (*kept, ("tl-dead-settled", b"dropped"), ("twice", b"1"), ("twice", b"2"))


def original(number: int, body: bytes | None, topic: str) -> Record:
    made = samples.make("call.initiated", number=number, now=NOW, session=f"session-{number}")
    value = body or made
    key = f"session-{number}".encode()
    return Record(topic, key, value, headers_of(value, number), int(NOW * 1_000))


def letter_of(
    record: Delivery,
    processor: str,
    reason: str,
    age: float,
    *,
    bytes_max: int = letters.BYTES_MAX,
    topic: str = topics.DEAD,
) -> Record:
    died = NOW - age
    trouble = Trouble(7, died - 60, died, 0.0, 0.0, "ValueError", "no such number +13125550188")
    return letters.write(record, processor, reason, trouble, died, topic=topic, bytes_max=bytes_max)


async def fill(shell: Shell, count: int = 4, prefix: str = "") -> list[Delivery]:
    """So many dead events, a younger letter for each; the last is not JSON."""
    async with shell.stream() as stream:
        bodies: list[bytes | None] = [*[None] * (count - 1), EVIL]
        calls = prefix + topics.CALLS
        await append(stream, [original(number, body, calls) for number, body in enumerate(bodies)])
        found = sorted(await read(stream, calls), key=lambda it: it.key or b"")
        await append(
            stream,
            [
                letter_of(
                    it,
                    "calls" if number % 2 else "archive",
                    "retries exhausted" if number else "no line",
                    (count - number) * HOUR,
                    topic=prefix + topics.DEAD,
                )
                for number, it in enumerate(found)
            ],
        )
    return found


async def calls_of(shell: Shell, prefix: str = "") -> list[Delivery]:
    async with shell.stream() as stream:
        return await read(stream, prefix + topics.CALLS)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


async def test_a_line_a_letter_oldest_first_and_masked(shell: Shell) -> None:
    await fill(shell)
    done = shell.trunkline("dead", "list")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [re.findall(r"session-\d", it) for it in lines] == [[f"session-{n}"] for n in range(4)]
    assert [it.split()[1] for it in lines] == ["4h", "3h", "2h", "1h"]
    assert all("(7x)  ValueError  telnyx.calls/" in it for it in lines)
    assert done.stderr == "4 letters open\n"


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        (["--reason", "retries*"], [1, 2, 3]),
        (["--reason", "no line", "--reason", "nothing"], [0]),
        (["--processor", "calls"], [1, 3]),
        (["--processor", "calls", "--since", "2h"], [3]),
        (["--until", rfc3339(NOW - 2.5 * HOUR)], [0, 1]),
        (["--key", "session-2"], [2]),
        (["--topic", "calls"], [0, 1, 2, 3]),
        (["--topic", "telnyx.video"], []),
    ],
)
async def test_filters_all_must_match(shell: Shell, filters: list[str], numbers: list[int]) -> None:
    await fill(shell)
    found = shell.objects("dead", "list", *filters)
    assert [it["key"] for it in found] == [f"session-{number}" for number in numbers]


async def test_everything_is_shown_of_one_masked_unless_asked(shell: Shell) -> None:
    records = await fill(shell)
    first, *_, last = shell.objects("dead", "list")
    page = shell.said("dead", "show", first["position"])
    number = re.findall(rb"\+1\d{10}", records[0].value or b"")[0].decode()
    assert number not in page
    assert "+13125550188" not in page
    for part in ("no line", "ValueError", "7, first", "event-0", "open", "telnyx-signature"):
        assert part in page
    assert number in shell.said("dead", "show", first["position"], "--unmasked")

    (whole,) = shell.objects("dead", "show", first["position"], "--unmasked")
    assert whole["event"] == json.loads(records[0].value or b"")
    assert [tuple(it) for it in whole["headers"]] == [
        (name, value.decode()) for name, value in records[0].headers
    ]
    hostile = shell.said("dead", "show", last["position"])
    assert "\x1b" not in hostile
    assert "+13125550188" not in hostile
    assert shell.raw("dead", "show", last["position"], "--raw").stdout == EVIL


async def test_a_replay_appends_the_same_bytes_under_the_same_id_once(shell: Shell) -> None:
    before = await fill(shell)
    (chosen,) = shell.objects("dead", "list", "--key", "session-1")

    listed = shell.trunkline("dead", "replay", "--dry-run", "--key", "session-1")
    assert (listed.returncode, listed.stdout.count("\n")) == (0, 1)
    assert len(await calls_of(shell)) == len(before)

    done = shell.trunkline("dead", "replay", "--key", "session-1")
    assert (done.returncode, done.stdout) == (0, f"{chosen['position']} replayed\n")
    (again,) = [it for it in await calls_of(shell) if "tl-replay-of" in dict(it.headers)]
    assert (again.key, again.value) == (before[1].key, before[1].value)
    assert again.headers == (
        *before[1].headers,
        ("tl-replay-of", chosen["position"].encode()),
    )
    assert again.partition == before[1].partition

    assert len(shell.objects("dead", "list")) == 3
    repeated = shell.trunkline("dead", "replay", chosen["position"])
    assert repeated.returncode == 0
    assert f"{chosen['position']}: replayed before" in repeated.stderr
    assert len(await calls_of(shell)) == len(before) + 1
    assert "replayed" in shell.said("dead", "show", chosen["position"])


async def test_a_letter_that_was_cut_cannot_be_replayed_and_says_so(shell: Shell) -> None:
    (record,) = await fill(shell, 1)
    async with shell.stream() as stream:
        large = Delivery(topics.CALLS, 0, 9, 0, b"k", b"x" * 200_000, record.headers)
        null = Delivery(topics.CALLS, 0, 10, 0, None, None, ())
        await append(
            stream,
            [
                letter_of(large, "calls", "too large", 0, bytes_max=100_000),
                letter_of(null, "calls", "null", 0),
            ],
        )
    done = shell.trunkline("dead", "replay", "--all")
    assert done.returncode == 1
    assert "its value is cut off" in done.stderr
    assert "its key or value was null" in done.stderr
    assert {it["reason"] for it in shell.objects("dead", "list")} == {"too large", "null"}
    (cut,) = shell.objects("dead", "list", "--reason", "too large")
    assert (cut["cut"], cut["body_bytes"]) == (["value"], 200_000)
    page = shell.said("dead", "show", cut["position"])
    assert hashlib.sha256(b"x" * 200_000).hexdigest() in page


async def test_dropping_wants_a_yes_and_lasts(shell: Shell) -> None:
    before = await fill(shell)
    refused = shell.trunkline("dead", "drop", "--processor", "calls")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    shell.said("dead", "drop", "--processor", "calls", "--dry-run")
    assert len(shell.objects("dead", "list")) == 4

    assert shell.said("dead", "drop", "--processor", "calls", "--yes").count(" dropped\n") == 2
    assert [it["processor"] for it in shell.objects("dead", "list")] == ["archive", "archive"]
    assert len(await calls_of(shell)) == len(before)
    assert shell.said("dead", "replay", "--all").count(" replayed\n") == 2
    assert shell.objects("dead", "list") == []


async def test_a_letter_whose_topic_is_gone_stays_and_stops_no_other(shell: Shell) -> None:
    (record,) = await fill(shell, 1)
    async with shell.stream() as stream:
        lost = Delivery("gone.topic", 0, 0, 0, b"k", b"{}", record.headers)
        await append(stream, [letter_of(lost, "calls", "lost", HOUR / 2)])
    done = shell.trunkline("dead", "replay", "--all")
    assert done.returncode == 1
    assert "gone.topic" in done.stderr
    assert done.stdout.count(" replayed\n") == 1
    assert [it["reason"] for it in shell.objects("dead", "list")] == ["lost"]


async def test_what_is_no_letter_is_counted_and_left_alone(shell: Shell) -> None:
    await fill(shell)
    async with shell.stream() as stream:
        strange = (("tl-dead-settled", b"eaten"), ("tl-dead-position", b"0:0"))
        await append(
            stream,
            [Record(topics.DEAD, b"k", b"?", headers, 0) for headers in ((), strange)],
        )
    done = shell.trunkline("dead", "list")
    assert done.stdout.count("\n") == 4
    assert "2 records are no letters" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["list", "--since", "yesterday"], 2, "2026-01-31T12:00:00Z"),
        (["list", "--topic", "nonsense"], 2, "is none of"),
        (["show", "nowhere"], 2, "they look like 3:17"),
        (["replay"], 2, "--all"),
        (["replay", "--all", "--key", "k"], 2, "--all"),
        (["list"], 3, "there is no stream at"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    shell: Shell, words: list[str], code: int, sentence: str
) -> None:
    done = shell.trunkline("dead", *words)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not shell.path.exists()


async def test_a_position_without_a_letter_is_an_error(shell: Shell) -> None:
    await fill(shell, 1)
    for words in (["show", "2:99"], ["replay", "2:99"], ["drop", "2:99", "--yes"]):
        done = shell.trunkline("dead", *words)
        assert done.returncode == 1
        assert "there is no letter" in done.stderr


def test_a_reader_that_goes_away_ends_it_quietly(shell: Shell) -> None:
    asyncio.run(fill(shell, 1_200))  # more than a pipe holds
    with subprocess.Popen(
        [sys.executable, "-m", "trunkline", "dead", "list", "--json"],
        env=shell.environment,
        cwd=shell.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        assert listing.stdout.readline().startswith(b"{")
        listing.stdout.close()
        errors = listing.stderr.read()
        assert listing.wait(30) == 0
    assert b"Traceback" not in errors


@pytest.mark.e2e
async def test_letters_are_settled_on_kafka_too(tmp_path: Path) -> None:
    prefix = f"dead-{free_port()}."
    shell = Shell(tmp_path, TRUNKLINE_STREAM=shared_server().url, TRUNKLINE_TOPICS_PREFIX=prefix)
    before = await fill(shell, prefix=prefix)
    assert [it["key"] for it in shell.objects("dead", "list", "--topic", "calls")] == [
        f"session-{number}" for number in range(4)
    ]
    assert shell.said("dead", "replay", "--key", "session-1").count(" replayed\n") == 1
    assert shell.said("dead", "drop", "--key", "session-2", "--yes").count(" dropped\n") == 1
    assert [it["key"] for it in shell.objects("dead", "list")] == ["session-0", "session-3"]
    (again,) = [it for it in await calls_of(shell, prefix) if "tl-replay-of" in dict(it.headers)]
    assert (again.key, again.value) == (before[1].key, before[1].value)
    assert again.headers[:-1] == before[1].headers
