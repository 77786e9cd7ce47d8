import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from trunkline import log as logs
from trunkline.log import Log, Sampler
from trunkline.settings import LogSection

LOGGER = logging.getLogger("trunkline.test")


def section(**values: Any) -> LogSection:
    return LogSection.model_validate(values)


class Output:
    """A log under test, and what it has written once it is stopped."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.log: Log | None = None

    def start(self, **values: Any) -> Log:
        self.log = logs.start(section(**values), self.stream)
        return self.log

    def lines(self) -> list[str]:
        assert self.log is not None
        self.log.stop()
        return self.stream.getvalue().splitlines()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


@pytest.fixture
def output() -> Iterator[Output]:
    output = Output()
    yield output
    if output.log is not None:
        output.log.stop()


def test_a_json_line_carries_time_level_logger_message_and_fields(output: Output) -> None:
    output.start(format="json")
    LOGGER.info("refused %d", 3, extra={"reason": "stale", "skew_seconds": 301.5, "key": None})
    (record,) = output.records()
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "info",
        "logger": "trunkline.test",
        "message": "refused 3",
        "reason": "stale",
        "skew_seconds": 301.5,
        "key": None,
    }


def test_a_text_line_reads_as_a_sentence_with_fields_behind(output: Output) -> None:
    output.start()
    LOGGER.warning("topic missing", extra={"topic": "telnyx.calls", "hint": "run it again", "n": 2})
    (line,) = output.lines()
    assert line.endswith(
        'Z warning trunkline.test: topic missing topic=telnyx.calls hint="run it again" n=2'
    )


def test_levels_are_as_set_and_libraries_speak_only_at_warning(output: Output) -> None:
    output.start(format="json", level="debug")
    LOGGER.debug("ours")
    logging.getLogger("ingest.door").debug("ours too")
    logging.getLogger("aiokafka.client").info("chatter")
    logging.getLogger("asyncio").warning("slow callback")
    assert [record["message"] for record in output.records()] == [
        "ours",
        "ours too",
        "slow callback",
    ]


def test_a_quiet_log_stays_quiet_for_libraries_too(output: Output) -> None:
    output.start(level="error")
    logging.getLogger("asyncio").warning("slow callback")
    LOGGER.warning("ours")
    assert output.lines() == []


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize(
    "evil",
    [
        'x\n{"level":"error","message":"forged"}',
        "x\r\n2026-01-01T00:00:00.000Z error forged",
        "\x1b[2J\x1b[1;1Hforged",
        "a\u2028b\u0085c\u202ed",
        b"\xff\nforged",
    ],
)
def test_untrusted_text_forges_no_line_and_drives_no_terminal(
    output: Output, style: str, evil: str | bytes
) -> None:
    output.start(format=style)
    text = evil if isinstance(evil, str) else evil.decode("latin-1")
    LOGGER.info("path %s", text, extra={"path": evil, text: 1, "deep": {text: [evil]}})
    lines = output.stream.getvalue().split("\n") if output.lines() else []
    assert len(lines) == 2
    assert lines[0].isprintable()
    assert lines[1] == ""
    if style == "json":
        assert json.loads(lines[0])["level"] == "info"


def fail(error: Exception) -> None:
    raise error


def test_numbers_and_secrets_are_masked_in_message_fields_and_exceptions(output: Output) -> None:
    output.start(format="json")
    try:
        fail(ValueError("no route to +13125550101"))
    except ValueError:
        LOGGER.exception(
            "dial %s",
            "+13125550101",
            extra={"from": "13125550101", "api_key": "k", "event": {"digits": "1234"}},
        )
    (line,) = output.lines()
    assert "3125550101" not in line
    record = json.loads(line)
    assert record["message"] == "dial +1312•••0101"
    assert record["from"] == "1312•••0101"
    assert record["api_key"] == record["event"]["digits"] == "•••"
    assert record["exception"]["message"] == "ValueError: no route to +1312•••0101"


def test_an_exception_is_one_field_that_names_causes_members_and_places(output: Output) -> None:
    output.start(format="json")
    try:
        try:
            fail(KeyError("inner"))
        except KeyError as error:
            raise ExceptionGroup("several", [OSError("disk"), ValueError("b")]) from error
    except ExceptionGroup:
        LOGGER.exception("failed")
    exception = output.records()[0]["exception"]
    assert exception["type"] == "ExceptionGroup"
    assert "[OSError: disk; ValueError: b] <- KeyError: 'inner'" in exception["message"]
    assert exception["trace"].startswith("test_log.py:")


def test_a_field_cannot_replace_ours_and_a_bad_value_fells_nobody(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without pytest's own handlers, which raise what ours must survive.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no")

    log = output.start(format="json")
    LOGGER.info("a", extra={"time": "never", "level": "x", "nan": float("nan")})
    LOGGER.info("b", extra={"broken": Broken()})
    LOGGER.info("%d", "not a number")
    LOGGER.info("c", extra={"object": object})
    records = [record for record in output.records() if "dropped" not in record]
    assert [record["message"] for record in records] == ["a", "c"]
    assert (records[0]["field_time"], records[0]["nan"]) == ("never", "nan")
    assert log.dropped == 2


def test_a_full_queue_drops_counts_and_says_so_later(output: Output) -> None:
    entered, released = threading.Event(), threading.Event()

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            entered.set()
            assert released.wait(30)
            return super().write(text)

    output.stream = Slow()
    log = output.start(format="json", queue_records_max=100)
    LOGGER.info("first")
    assert entered.wait(30)
    for number in range(150):
        LOGGER.info("line %d", number)
    assert log.dropped == 50
    released.set()
    records = output.records()
    assert len(records) == 1 + 100 + 1
    (loss,) = (record for record in records if "dropped" in record)
    assert loss["dropped"] == 50
    assert loss["level"] == "warning"


def test_a_reader_that_never_reads_delays_neither_logging_nor_the_end() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb"), os.fdopen(writer, "w") as stream:
        log = logs.start(section(queue_records_max=100), stream)
        for number in range(5_000):
            LOGGER.info("line %d %s", number, "x" * 500)
        log.stop()
        assert log.dropped > 4_000
        assert not log._thread.is_alive()
        # What comes after must not find its own way to stderr either.
        logging.getLogger("asyncio").error("last words")
        logging.getLogger().removeHandler(log._handler)


def test_a_reader_that_left_is_counted_and_harmless() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        log = logs.start(section(), stream)
        LOGGER.info("into the void")
        log.stop()
        assert log.dropped == 1


def test_a_whole_process_ends_though_nobody_reads_its_stderr() -> None:
    program = """
import logging, sys
from trunkline import log
from trunkline.settings import LogSection
running = log.start(LogSection())
for number in range(20000):
    logging.getLogger("trunkline.x").warning("line %d %s", number, "x" * 200)
running.stop()
logging.getLogger("asyncio").error("last words " + "x" * 100_000)
print("ended", running.dropped > 0)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        # stdout ends only with the process; stderr stays unread until then.
        assert process.stdout.read() == b"ended True\n"
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read().startswith(b"20")


def test_stopping_puts_logging_back_and_may_be_done_twice(output: Output) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.getLogger("trunkline").level)
    log = output.start(level="debug")
    log.stop()
    log.stop()
    assert (list(root.handlers), root.level, logging.getLogger("trunkline").level) == before


def test_a_flood_is_sampled_and_the_next_line_says_how_much_was_left_out() -> None:
    sampler = Sampler(2)
    assert [sampler.admit("forged", 10.0 + n / 10) for n in range(5)] == [0, 0, None, None, None]
    assert sampler.admit("stale", 10.5) == 0
    assert sampler.admit("forged", 11.0) == 3
    assert sampler.admit("forged", 11.1) == 0
    assert sampler.admit("forged", 11.2) is None


def test_a_sampler_survives_a_clock_set_back_and_reasons_without_end() -> None:
    sampler = Sampler(1)
    assert sampler.admit("a", 1_000.0) == 0
    assert sampler.admit("a", 10.0) == 0
    assert Sampler(0).admit("a", 1.0) is None
    admitted = [sampler.admit(f"reason {n}", 20.0) for n in range(10_000)]
    assert sum(one is not None for one in admitted) <= 64
