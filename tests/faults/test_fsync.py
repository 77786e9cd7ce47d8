"""What kill -9 cannot show: that a 200 leaves only after the kernel was told to put it on disk."""

import re
from pathlib import Path

import pytest

from tests.faults.ground import Ground, until
from tests.load.process import HOST
from tests.load.sender import Sender
from tests.load.webhooks import Mix

pytestmark = pytest.mark.e2e

TRACED = "trace=pwrite64,write,sendto,sendmsg,writev,fdatasync,fsync"
STRACE = ("strace", "-f", "-qq", "-y", "-s", "40", "-e", TRACED, "-o")
LINE = re.compile(r"^(?P<task>\d+) +(?P<call>.*)$")


def sync_before_each_200(trace: str) -> tuple[int, int]:
    """How many 200s left, and how many of them while something written was not synced."""
    dirty, answers, lies = False, 0, 0
    for line in trace.splitlines():
        found = LINE.match(line)
        call = found["call"] if found else ""
        if call.startswith("pwrite64(") and "-wal>" in call:
            dirty = True
        elif re.match(r"(fdatasync\(.*-wal>\)|<\.\.\. fdatasync resumed>\)) += 0", call):
            dirty = False
        elif r"HTTP/1.1 200 OK\r\ncontent-length: 0" in call:  # the door's, not the probe's
            answers += 1
            lies += dirty
    return answers, lies


async def test_every_200_of_the_embedded_stream_leaves_after_its_fsync(tmp_path: Path) -> None:
    ground = Ground(tmp_path, f"sqlite:///{tmp_path}/stream.db")
    trace = tmp_path / "trace"
    door = ground.door()
    door.wrapped_by(*STRACE, str(trace))
    with door:
        sender = Sender(HOST, door.port, connections=1)
        for shot in ground.shots(40, Mix()):
            # One at a time, so that nothing else is being written while an answer leaves.
            (sent,) = await sender.run([shot], rate=1_000)
            assert sent.status == 200
        await sender.close()
        await until(lambda: sync_before_each_200(trace.read_text())[0] == 40, "the whole trace")
    assert sync_before_each_200(trace.read_text()) == (40, 0)
