"""What kill -9 cannot show: nothing counts as published before the kernel put it on the disk."""

import asyncio
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pytest

from tests.lake.test_kill import ended

pytestmark = pytest.mark.e2e

TRACED = "trace=write,fsync,link,linkat,mkdir,rename,renameat,renameat2"
CALL = re.compile(r"^(?P<task>\d+) +(?P<call>.*?)(?P<open> <unfinished \.\.\.>)?$")
RESUMED = re.compile(r"^<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)$")
DESCRIPTOR = re.compile(r"^(?P<name>write|fsync)\(\d+<(?P<path>[^>]*)>.* = \d+$")
PATHS = re.compile(r"^(?P<name>link|mkdir|rename)(at|at2)?\(.*? = 0$")
QUOTED = re.compile(r'"([^"]*)"')


@dataclass
class Disk:
    """What the calls so far have left in memory only, and how often that mattered."""

    store: Path
    mark: Path
    unsynced: set[str] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)
    lies: list[str] = field(default_factory=list)

    def called(self, call: str) -> None:
        if (found := DESCRIPTOR.match(call)) and found["path"].startswith(str(self.store)):
            self.seen[found["name"]] += 1
            change = self.unsynced.add if found["name"] == "write" else self.unsynced.discard
            change(found["path"])
        elif found := PATHS.match(call):
            self.named(found["name"], QUOTED.findall(call))

    def named(self, name: str, paths: list[str]) -> None:
        if paths[-1] == str(self.mark) and name == "rename":
            self.seen["marks"] += 1
            self.lies += [f"mark before {path}" for path in self.unsynced]
        elif paths[-1].startswith(str(self.store) + "/"):
            self.seen[name] += 1
            if name == "link" and paths[0] in self.unsynced:
                self.lies.append(f"link before fsync of {paths[0]}")
            self.unsynced.add(str(PurePosixPath(paths[-1]).parent))


def read(trace: str, disk: Disk) -> None:
    """Line by line, a call interrupted by another thread's counted when it ended."""
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        if not (found := CALL.match(line)):
            continue
        task, call = found["task"], found["call"]
        if found["open"]:
            begun[task] = call
        elif resumed := RESUMED.match(call):
            disk.called(begun.pop(task) + resumed["rest"])
        else:
            disk.called(call)


async def test_a_mark_moves_only_after_files_and_folders_are_on_the_disk(tmp_path: Path) -> None:
    trace, store, mark = tmp_path / "trace", tmp_path / "store", tmp_path / "mark"
    strace = ("strace", "-f", "-qq", "-y", "-s", "0", "-e", TRACED, "-o", str(trace))
    publisher = (sys.executable, "-m", "tests.lake.publisher", str(store), str(mark))
    process = await asyncio.create_subprocess_exec(*strace, *publisher, "200", "1", "1")
    assert await ended(process) == 0
    disk = Disk(store, mark)
    read(await asyncio.to_thread(trace.read_text), disk)
    assert disk.lies == []
    assert disk.seen["marks"] >= 5
    assert disk.seen["link"] >= 3 * disk.seen["marks"]
    assert disk.seen["fsync"] >= disk.seen["link"] + disk.seen["mkdir"]
