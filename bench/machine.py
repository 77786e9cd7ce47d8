"""What a run ran on and with, so that its figures can be judged elsewhere."""

import contextlib
import json
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.doors import PEER_PYTHON
from tests.load.process import ROOT

_OURS = ("trunkline", "aiokafka", "uvloop", "httptools", "orjson", "pynacl")
_PEERS = ("fastapi", "starlette", "uvicorn", "telnyx", "aiokafka", "uvloop", "httptools", "pynacl")


def describe(folder: Path) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "disk": _output("df", "--output=fstype", str(folder)).rpartition("\n")[2],
        "python": platform.python_version(),
        "kafka": _kafka(),
        "java": _output("java", "--version").partition("\n")[0],
        "ours": {name: version(name) for name in _OURS},
        "peer": _peer(),
        "load_before": os.getloadavg()[0],
    }


def words(machine: dict[str, Any]) -> str:
    """The same for readers."""
    ours, peer = (
        ", ".join(f"{name} {number}" for name, number in machine[of].items())
        for of in ("ours", "peer")
    )
    return (
        f"{machine['at']}, commit {machine['commit']}; {machine['cores']} cores of {machine['cpu']}"
        f" shared by door, broker and sender; Linux {machine['kernel']}, {machine['disk']}; "
        f"Python {machine['python']}; Apache Kafka {machine['kafka']}, one broker, "
        f"{machine['java']}; load average before {machine['load_before']:.1f}, "
        f"after {machine.get('load_after', 0.0):.1f}.\nDoor: {ours}.\nPeer: {peer}."
    )


def _output(*command: str) -> str:
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return "unknown"


def _cpu() -> str:
    text = Path("/proc/cpuinfo").read_text()
    found = re.search(r"model name\s*: (.+)", text)
    return found[1] if found else platform.processor()


def _kafka() -> str:
    jars = (ROOT / ".cache" / "kafka" / "jars").glob("kafka_*.jar")
    numbers = (re.fullmatch(r"kafka_[\d.]+-([\d.]+)", jar.stem) for jar in jars)
    return next((number[1] for number in numbers if number), "unknown")


def _peer() -> dict[str, str]:
    code = "import json, sys; from importlib.metadata import version as v; "
    code += "print(json.dumps({n: v(n) for n in sys.argv[1:]}))"
    text = _output(str(PEER_PYTHON), "-c", code, *_PEERS)
    return dict(json.loads(text)) if text != "unknown" else {}
