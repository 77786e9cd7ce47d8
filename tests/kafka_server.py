"""Real Apache Kafka brokers for tests: started, paused, killed and restarted at will."""

import atexit
import ctypes
import functools
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

RUN = Path(__file__).parents[1] / "deploy" / "kafka" / "run"
HOST = "127.0.0.1"
READY_SECONDS = 60.0
# ApiVersions v0, correlation id 7, no client id: the cheapest question a broker answers.
QUESTION = struct.pack(">ihhih", 10, 18, 0, 7, -1)


@functools.cache
def shared_server() -> "KafkaServer":
    """One broker for all tests that do it no harm; started on first use, removed at exit."""
    server = KafkaServer(Path(tempfile.mkdtemp(prefix="trunkline-kafka-")))
    atexit.register(server.remove)
    return server.start()


@pytest.fixture(scope="session")
def kafka_server() -> "KafkaServer":
    """The shared broker; each test uses topics of its own."""
    return shared_server()


class KafkaServer:
    """One broker on loopback; ports and data stay its own through kill and restart."""

    def __init__(
        self,
        directory: Path,
        *,
        properties: Mapping[str, str] | None = None,
        heap_mb: int = 320,
        node: int = 1,
        ports: tuple[int, int] | None = None,
        voters: str | None = None,
        user: str | None = None,
    ) -> None:
        self.directory = directory
        self.port, self._controller_port = ports or free_ports(2)
        self._arguments = [
            f"--port={self.port}",
            f"--controller-port={self._controller_port}",
            f"--data={directory}",
            f"--heap-mb={heap_mb}",
            f"--node={node}",
            *(f"--set={name}={value}" for name, value in (properties or {}).items()),
            *([f"--voters={voters}"] if voters else []),
            *([f"--user={user}"] if user else []),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"kafka://{self.bootstrap}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return (self.directory / "output.log").read_text(errors="replace")

    def launch(self) -> None:
        """Start without waiting."""
        assert not self.running, "already running"
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(RUN), *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in pytest must not reach it before teardown
                preexec_fn=die_with_parent,  # noqa: PLW1509  # tests start no threads before this
            )

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                raise RuntimeError(f"the broker did not start:\n{self.log[-4000:]}")
            time.sleep(0.05)

    def start(self) -> Self:
        self.launch()
        self.wait_ready()
        return self

    restart = start

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)
        assert self._process is not None
        # On a busy machine it would still take what is sent right after.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.running:
            self._signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        if self.running:
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGTERM)
        self._wait()

    def remove(self) -> None:
        """Kill, and delete the data."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def _wait(self) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), 1) as connection:
                connection.sendall(QUESTION)
                return len(connection.recv(8)) > 0
        except OSError:
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


class KafkaCluster:
    """Three brokers, each also a controller: two must live for leaders to move."""

    def __init__(self, directory: Path, properties: Mapping[str, str] | None = None) -> None:
        nodes = (1, 2, 3)
        ports = free_ports(2 * len(nodes))
        pairs = list(zip(ports[::2], ports[1::2], strict=True))
        voters = ",".join(
            f"{node}@{HOST}:{pair[1]}" for node, pair in zip(nodes, pairs, strict=True)
        )
        self.servers = {
            node: KafkaServer(
                directory / str(node),
                properties=properties,
                heap_mb=256,
                node=node,
                ports=pair,
                voters=voters,
            )
            for node, pair in zip(nodes, pairs, strict=True)
        }

    @property
    def url(self) -> str:
        return "kafka://" + ",".join(server.bootstrap for server in self.servers.values())

    def __enter__(self) -> Self:
        for server in self.servers.values():
            server.launch()
        for server in self.servers.values():
            server.wait_ready()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self.servers.values():
            server.remove()


def free_ports(count: int) -> tuple[int, ...]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return tuple(one.getsockname()[1] for one in sockets)
    finally:
        for one in sockets:
            one.close()


def die_with_parent() -> None:
    """A broker must not outlive a killed test run; Linux only, elsewhere teardown has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)
