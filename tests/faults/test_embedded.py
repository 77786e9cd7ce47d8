"""Faults against a real door process on the embedded stream; each ends before the judge."""

import asyncio
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import scenarios
from tests.faults.crowd import Crowd
from tests.faults.ground import Ground, answered, traffic, until
from tests.faults.report import report
from tests.load.process import HOST
from tests.load.sender import Sender
from tests.load.webhooks import Mix
from trunkline.keys import DevelopmentKey

HONEST = Mix(sessions=40)
SUSPECT = "trunkline_clock_suspect"
BAD_FILES = "trunkline_key_files_bad"


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path, f"sqlite:///{tmp_path}/stream.db")


async def test_every_200_survives_kill_9_again_and_again(ground: Ground) -> None:
    await scenarios.killed_under_load(ground, rounds=8, rate=500, name="embedded")


@pytest.mark.parametrize("workers", [1, 2])
async def test_sigterm_under_load_loses_and_refuses_nothing(ground: Ground, workers: int) -> None:
    await scenarios.terminated_under_load(ground, 300, "embedded", workers=workers)


async def test_a_burst_of_a_hundred_times_the_usual_is_answered(ground: Ground) -> None:
    await scenarios.burst(ground, "embedded")


async def test_a_killed_worker_is_replaced_and_takes_nothing_along(ground: Ground) -> None:
    await scenarios.worker_killed(ground, "embedded")


async def test_a_torn_last_page_takes_nothing_that_was_answered(ground: Ground) -> None:
    door = ground.door()
    with door:
        async with traffic(door, ground.endless(), 400) as sender:
            for torn in (b"\0" * 4_096, os.urandom(10_000), os.urandom(37)):
                await answered(sender, 200, 150)
                door.kill()
                with (ground.folder / "stream.db-wal").open("ab") as log:
                    log.write(torn)  # a write that the power cut in half
                await asyncio.to_thread(door.start)
            await answered(sender, 200, 100)
        await ground.judge("embedded: torn last page x3", sender.log, door)


async def test_two_doors_share_one_file(ground: Ground) -> None:
    first, second = ground.door(), ground.door()
    shots = ground.shots(1_500)
    with first, second:
        async with (
            traffic(first, shots[:1_000], 250) as one,
            traffic(second, shots[500:], 250) as other,  # a third of them comes to both
        ):
            await until(lambda: len(one.log) == len(other.log) == 1_000, "all sent")
        metrics = first.metrics()
        log = one.log + other.log
        summary = await ground.judge("embedded: two doors on one file", log, first)
    assert summary.unavailable == summary.unanswered == 0
    assert metrics['trunkline_ingest_requests_total{verdict="accepted"}'] > 500


async def test_a_full_disk_is_answered_503_until_there_is_room_again(ground: Ground) -> None:
    door = ground.door()
    with door:
        async with traffic(door, ground.endless(HONEST), 300) as sender:
            await answered(sender, 200, 100)
            limit = 65_536  # less than the file has: nothing can be written where it matters
            resource.prlimit(door.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            await answered(sender, 503, 100)
            await until(lambda: not door.ready(), "readiness off")
            resource.prlimit(
                door.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
            await until(door.ready, "readiness back")
            await answered(sender, 200, 100)
        await ground.judge("embedded: disk full (file size limit)", sender.log, door)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.e2e  # mounting needs root; `make test` has the file size limit above
async def test_a_disk_filled_by_others_is_answered_503_until_they_leave(small_disk: Path) -> None:
    ground = Ground(small_disk.parent, f"sqlite:///{small_disk}/stream.db")
    door = ground.door()
    with door:
        async with traffic(door, ground.endless(HONEST), 300) as sender:
            await answered(sender, 200, 50)
            hog = small_disk / "hog"
            with hog.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4_096))
                except OSError:
                    pass  # now it is full
            await answered(sender, 503, 100)
            hog.unlink()
            await until(door.ready, "readiness back")
            await answered(sender, 200, 100)
        await ground.judge("embedded: disk full (small disk)", sender.log, door)
        door.kill()


async def test_a_clock_ten_minutes_off_refuses_all_alarms_and_recovers(ground: Ground) -> None:
    offset = ground.folder / "offset"
    offset.write_text("0")
    door = ground.door({"STEPPED_CLOCK_FILE": str(offset)}, ("-m", "tests.faults.stepped_ingest"))
    with door:
        async with traffic(door, ground.endless(HONEST), 200) as sender:
            for step, reason in ((600, "stale"), (-600, "future")):
                await answered(sender, 200, 50)
                _write(offset, str(step))
                await answered(sender, 401, 50)
                await until(lambda: door.metrics()[SUSPECT] == 1, "the clock's alarm")
                _write(offset, "0")
                await answered(sender, 200, 50)
                await until(lambda: door.metrics()[SUSPECT] == 0, "the end of the alarm")
                name = f'trunkline_ingest_refused_total{{reason="{reason}_timestamp"}}'
                assert door.metrics()[name] >= 50
            assert door.ready()
        await ground.judge(
            "embedded: clock +-10 min", sender.log, door, door.metrics(), refusals_due=True
        )


def _write(path: Path, text: str) -> None:
    """At once, so that no reader sees it half written."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)


async def test_a_key_file_of_rubbish_keeps_the_last_good_keys_until_a_good_one_comes(
    ground: Ground,
) -> None:
    file, successor = ground.folder / "keys", DevelopmentKey()
    file.write_text(ground.key.public.text)
    ground.keys[successor.public.text] = successor.public
    ground._settings.pop("TELNYX_PUBLIC_KEY")
    door = ground.door(
        {"TELNYX_PUBLIC_KEY_FILE": str(file), "TRUNKLINE_INGEST_KEY_RELOAD_SECONDS": "0.1"}
    )
    sender = Sender(HOST, door.port)
    with door:
        log = await sender.run(ground.shots(100, HONEST), 500)
        for rubbish in ("rubbish", "", "\xff\0", "AAAA", successor.public.text + ",x"):
            _write(file, rubbish)
            await until(lambda: door.metrics()[BAD_FILES] == 1, "the bad file is seen")
            log += await sender.run(ground.shots(20, HONEST), 500)
        file.unlink()
        log += await sender.run(ground.shots(20, HONEST), 500)
        assert {sent.status for sent in log} == {200}
        _write(file, f"{ground.key.public.text}\n{successor.public.text}\n")
        await until(lambda: door.metrics()[BAD_FILES] == 0, "the good file is seen")
        log += await sender.run(ground.shots(50, HONEST), 500)
        log += await sender.run(ground.shots(50, HONEST, successor), 500)
        assert {sent.status for sent in log} == {200}, "while rotating, both keys are good"
        _write(file, successor.public.text)
        old = ground.shots(600, HONEST)
        async with asyncio.timeout(20):
            while log[-1].status != 401:  # the first key's webhooks are refused by now
                log += await sender.run([old.pop()], 20)
        last = await sender.run(ground.shots(50, HONEST, successor), 500)
        assert {sent.status for sent in last} == {200}
        await ground.judge(
            "embedded: key file rubbish, then rotated",
            sender.log,
            door,
            door.metrics(),
            refusals_due=True,
        )
    await sender.close()


async def test_the_slow_and_the_deaf_by_the_hundred_do_not_starve_the_honest(
    ground: Ground,
) -> None:
    door = ground.door(
        {"TRUNKLINE_INGEST_HEADERS_SECONDS": "1", "TRUNKLINE_INGEST_BODY_SECONDS": "2"}
    )
    with door:
        calm = door.rss_bytes()
        crowd = Crowd(HOST, door.port)
        crowd.slow_headers(120)
        crowd.slow_bodies(120)
        crowd.deaf_askers(60)
        async with traffic(door, ground.shots(1_200, HONEST), 200) as sender:
            await until(lambda: len(sender.log) == 1_200, "all sent")
            connections = door.metrics()["trunkline_ingest_connections"]
        crowded = door.rss_bytes()
        await crowd.close()
        await until(lambda: door.metrics()["trunkline_ingest_held_bytes"] == 0, "all let go")
        name = (
            f"embedded: 300 slow and deaf clients ({crowd.thrown_out} thrown out, "
            f"{connections:g} connections, {(crowded - calm) / 1e6:.0f} MB more)"
        )
        summary = await ground.judge(name, sender.log, door)
    assert summary.ok == len(sender.log), "the honest are served as ever"
    assert crowd.thrown_out > 100
    assert crowded - calm < 100e6


def test_the_report_is_written_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT_REPORT", str(tmp_path / "report"))
    report("a line")
    report("another")
    assert (tmp_path / "report").read_text() == "a line\nanother\n"


async def test_hundreds_of_clients_at_once_are_all_answered(ground: Ground) -> None:
    with ground.door() as door:
        sender = Sender(HOST, door.port, connections=800)
        door.signal(signal.SIGSTOP)  # it need not even look: the system keeps them for it
        try:
            async with asyncio.timeout(10):
                await sender.connect()
        finally:
            door.signal(signal.SIGCONT)
        log = await sender.run(ground.shots(800, HONEST), 5_000)
        await ground.judge("embedded: 800 clients at once", log, door, door.metrics())
        await sender.close()
    assert {sent.status for sent in log} == {200}


async def test_idle_clients_beyond_the_systems_limit_do_not_shut_the_honest_out(
    ground: Ground,
) -> None:
    program = (
        "import resource, sys; from trunkline.cli.main import main;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200)); sys.exit(main(['ingest']))"
    )
    with ground.door(arguments=("-c", program)) as door:
        idle = [await asyncio.open_connection(HOST, door.port) for _ in range(400)]
        sender = Sender(HOST, door.port)
        log = await sender.run(ground.shots(200, HONEST), 200)
        metrics = door.metrics()
        await ground.judge("embedded: 400 idle clients, 200 descriptors", log, door, metrics)
        await sender.close()
        for _, writer in idle:
            writer.transport.abort()
    assert {sent.status for sent in log} == {200}
    assert metrics["trunkline_ingest_evicted_connections_total"] > 200
