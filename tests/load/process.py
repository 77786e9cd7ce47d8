"""A real `trunkline` process under test: started, asked, stopped and killed at will."""

import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
READY_SECONDS = 20.0
_ASK_SECONDS = 2.0
_sample = re.compile(r"^([^\s{]+(?:\{.*\})?) (\S+)$", re.MULTILINE).findall


def free_port() -> int:
    """Below the range outgoing connections come from, so that it stays free through restarts."""
    for _ in range(1_000):
        port = random.randint(12_000, 30_000)  # noqa: S311  # any port will do
        with contextlib.suppress(OSError), socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((HOST, port))
            return port
    raise RuntimeError("no free port")


class DoorProcess:
    """`trunkline ingest` on loopback; its ports and its log stay through kill and restart."""

    def __init__(
        self,
        folder: Path,
        stream: str,
        settings: Mapping[str, str],
        *,
        arguments: Sequence[str] = ("-m", "trunkline", "ingest"),
    ) -> None:
        self.port, self.probe_port = free_port(), free_port()
        self._arguments = arguments
        self._wrapper: tuple[str, ...] = ()
        self._folder = folder
        self._log = folder / f"ingest-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None
        # A clean environment: settings of whoever runs the tests must not leak in.
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.environment = {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "TRUNKLINE_STREAM": stream,
            "TRUNKLINE_INGEST_BIND": f"{HOST}:{self.port}",
            "TRUNKLINE_PROBE_BIND": f"{HOST}:{self.probe_port}",
            "TRUNKLINE_LOG_FORMAT": "json",
            **settings,
        }

    def wrapped_by(self, *command: str) -> None:
        """Start it under another program from now on, such as a tracer."""
        self._wrapper = command

    def launch(self) -> None:
        """Start without waiting."""
        assert not self.running, "already running"
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._wrapper, sys.executable, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C in pytest must not reach it before teardown
            )

    def start(self) -> Self:
        self.launch()
        self.wait_ready()
        return self

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not self.ready():
            if not self.running or time.monotonic() > deadline:
                raise RuntimeError(f"not ready: {self.ask('/readyz')}\n{self.log[-4000:]}")
            time.sleep(0.02)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def ask(self, path: str) -> tuple[int, str]:
        """A page of the probe port; status 0 if nobody answers."""
        connection = http.client.HTTPConnection(HOST, self.probe_port, timeout=_ASK_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, repr(error)
        finally:
            connection.close()

    def ready(self) -> bool:
        return self.ask("/readyz")[0] == http.HTTPStatus.OK

    def metrics(self) -> dict[str, float]:
        status, text = self.ask("/metrics")
        assert status == http.HTTPStatus.OK, text
        return {name: float(value) for name, value in _sample(text)}

    def rss_bytes(self) -> int:
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """User and system time used so far, by this process alone."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def children(self) -> list[int]:
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def log_lines(self) -> Iterator[dict[str, object]]:
        """What it logged as JSON; anything else on stderr, such as a traceback, is passed over."""
        for line in self.log.splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                found = json.loads(line)
                if isinstance(found, dict):
                    yield found

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def kill(self) -> None:
        """As a machine dies: no goodbye. Children of `--workers` go with their session."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(20)

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def wait(self, seconds: float = 30.0) -> int:
        assert self._process is not None, "not started"
        return self._process.wait(seconds)

    def stop(self) -> int:
        if self.running:
            self.terminate()
        try:
            return self.wait()
        finally:
            self.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
