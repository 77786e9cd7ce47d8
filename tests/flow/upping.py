"""A real `trunkline up` under test, and ways to ask it."""

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from tests.load.process import HOST, DoorProcess, free_port

_PATIENCE_SECONDS = 30.0


class Up(DoorProcess):
    """In a folder of its own, with its stream in the default place there."""

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        self.console_port = free_port()
        self.folder = folder
        super().__init__(
            folder,
            "sqlite:///var/stream.db",
            {"TRUNKLINE_CONSOLE_BIND": f"{HOST}:{self.console_port}", **settings},
            arguments=("-m", "trunkline", "up", *arguments),
        )

    def state(self) -> dict[str, Any]:
        connection = http.client.HTTPConnection(HOST, self.console_port, timeout=5)
        try:
            connection.request("GET", "/state.json")
            state: dict[str, Any] = orjson.loads(connection.getresponse().read())
            return state
        finally:
            connection.close()

    def wait_for(self, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The first state of which this holds."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not holds(state := self.state()):
            assert time.monotonic() < deadline, f"never came about: {state}\n{self.log[-2000:]}"
            time.sleep(0.05)
        return state

    def trunkline(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command, with the same settings, in the same folder."""
        return subprocess.run(
            [sys.executable, "-m", "trunkline", *arguments],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )


def post(port: int, path: str, headers: dict[str, str], body: bytes) -> int:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("POST", path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()
