"""A folder with a stream, and the commands an operator runs in it."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.load.dump import settings_from
from tests.load.process import ROOT
from trunkline import topics
from trunkline.cli.wiring import open_stream
from trunkline.clock import SystemClock
from trunkline.stream import Delivery, Record, Start, Stream

_PATIENCE_SECONDS = 60.0


class Shell:
    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.path = folder / "stream.db"
        self.store = folder / "store"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.environment = {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "TRUNKLINE_STREAM": f"sqlite:///{self.path}",
            "TRUNKLINE_STORE": f"file:///{self.store}",
            "TRUNKLINE_TOPICS_PARTITIONS": "3",
            "TRUNKLINE_TOPICS_REPLICAS": "1",
            "TRUNKLINE_TOPICS_IN_SYNC_REPLICAS_MIN": "1",
            **settings,
        }

    def trunkline(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self.raw(*arguments)
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def raw(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "trunkline", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )

    def said(self, *arguments: str) -> str:
        """What a command prints that must succeed."""
        done = self.trunkline(*arguments)
        assert done.returncode == 0, done
        return done.stdout

    def objects(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said(*arguments, "--json").splitlines()]

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[Stream]:
        """As the commands open it; its topics exist."""
        settings = settings_from(self.environment, self.folder)
        async with open_stream(settings, SystemClock()) as stream:
            await stream.create(topics.specs(settings.topics))
            yield stream


async def append(stream: Stream, records: Sequence[Record]) -> None:
    assert await stream.append(records) == [None] * len(records)


async def read(stream: Stream, topic: str) -> list[Delivery]:
    """All that a topic holds."""
    count = sum(end - first for first, end in (await stream.ends([topic])).values())
    subscription = await stream.subscribe([topic], Start.EARLIEST)
    found: list[Delivery] = []
    while len(found) < count:
        found += await subscription.fetch(count, 0.5)
    await subscription.close()
    return found
