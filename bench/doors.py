"""The processes that are measured: started on loopback, asked for their CPU, stopped."""

import contextlib
import http.client
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from tests.load.process import HOST, ROOT, DoorProcess, free_port

PEER_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
_READY_SECONDS = 30.0


class Measured(Protocol):
    """A process that takes webhooks on a port."""

    @property
    def port(self) -> int: ...

    @property
    def pids(self) -> list[int]: ...


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of these processes, all threads, to the nanosecond.

    Linux numbers the CPU clock of any process like this (clock_getcpuclockid); /proc/PID/stat
    counts in ticks of 10 ms.
    """
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def machine_seconds() -> float:
    """Core-seconds the whole machine has been busy, whoever with; in ticks of 10 ms."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    busy = user + nice + system + irq + softirq + steal
    return busy / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """The process and all it started that still run: sender, broker, doors."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def rss_bytes(pids: list[int]) -> int:
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in pids)


class Door:
    """`trunkline ingest` as it is deployed, with one or more processes."""

    def __init__(self, process: DoorProcess) -> None:
        self.process = process

    @property
    def port(self) -> int:
        return self.process.port

    @property
    def pids(self) -> list[int]:
        # With several workers their parent only watches over them; it is counted all the same.
        return [self.process.pid, *self.process.children()]


@contextlib.contextmanager
def door(
    folder: Path, stream: str, settings: Mapping[str, str], *, workers: int = 1
) -> Iterator[Door]:
    arguments = ("-m", "trunkline", "ingest", f"--workers={workers}")
    settings = {"TRUNKLINE_INGEST_DRAIN_DELAY_SECONDS": "0", **settings}
    process = DoorProcess(folder, stream, settings, arguments=arguments)
    try:
        yield Door(process.start())
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.stop()


class Peer:
    def __init__(self, kafka: str, public_key: str, log: Path) -> None:
        self.port = free_port()
        command = [str(PEER_PYTHON), "-m", "uvicorn", "bench.peer:app", f"--port={self.port}"]
        command += ["--loop=uvloop", "--http=httptools", "--no-access-log", "--log-level=warning"]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env={"PATH": os.environ["PATH"], "KAFKA": kafka, "TELNYX_PUBLIC_KEY": public_key},
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pids(self) -> list[int]:
        return [self._process.pid]

    def wait_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the peer did not start; see peer.log")
            time.sleep(0.02)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=1)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)


@contextlib.contextmanager
def peer(kafka: str, public_key: str, log: Path) -> Iterator[Peer]:
    running = Peer(kafka, public_key, log)
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()
