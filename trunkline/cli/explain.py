"""`trunkline explain`: why a webhook is refused, from a captured request or the door itself."""

import argparse
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ingest.forensics.capture import parse_head
from ingest.forensics.explanation import explain
from ingest.forensics.report import as_dict, render
from trunkline.cli.wiring import settings_of
from trunkline.clock import SystemClock, parse_rfc3339
from trunkline.errors import Misconfigured, NotReachable
from trunkline.keys import Keyring
from trunkline.mask import printable
from trunkline.settings import Settings

_ASK_SECONDS = 10.0
_STANDARD_INPUT = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Without files: the last refusals of the running door, newest last. "
        "With --headers and --body: what the door would say of that request, and why."
    )
    parser.add_argument(
        "--headers", metavar="FILE", help="captured head: raw HTTP, curl -v output, or JSON"
    )
    parser.add_argument("--body", metavar="FILE", help="captured body, the exact bytes; - is stdin")
    parser.add_argument(
        "--at", metavar="TIME", help="judge as at this time (RFC 3339) instead of now"
    )
    parser.add_argument("--last", type=int, default=5, metavar="N", help="how many refusals")
    parser.add_argument("--probe", metavar="HOST:PORT", help="the door's probe (probe.bind)")
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    if arguments.headers or arguments.body:
        return _captured(settings, arguments)
    return _asked(settings, arguments)


def _captured(settings: Settings, arguments: argparse.Namespace) -> int:
    if not arguments.headers or not arguments.body:
        raise Misconfigured("explain", "give both --headers FILE and --body FILE")
    try:
        method, target, headers = parse_head(_read(arguments.headers))
        now = parse_rfc3339(arguments.at) if arguments.at else SystemClock().now()
    except ValueError as error:
        raise Misconfigured("explain", str(error)) from None
    report = explain(
        method,
        target,
        headers,
        _read(arguments.body),
        Keyring.of(settings).accounts,
        now,
        settings.ingest.timestamp_tolerance_seconds,
    )
    print(json.dumps(as_dict(report)) if arguments.json else render(report))
    return 0 if report.accepted else 1


def _read(name: str) -> bytes:
    if name == _STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise Misconfigured("explain", f"cannot read {name}: {error.strerror}") from None


def _asked(settings: Settings, arguments: argparse.Namespace) -> int:
    bind = arguments.probe or settings.probe.bind
    host, _, port = bind.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104  # where to ask
    url = f"http://{host}:{port}/refusals"
    try:
        with urllib.request.urlopen(url, timeout=_ASK_SECONDS) as answer:  # http only
            refusals = json.load(answer)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise NotReachable(
            f"no door answers at {url}: {error}; is one running with this probe.bind?"
        ) from None
    newest = refusals[-arguments.last :] if arguments.last > 0 else []
    if arguments.json:
        print(json.dumps(newest))
    elif not newest:
        print("nothing was refused lately")
    else:
        print("\n\n".join(_words(refusal) for refusal in newest))
    return 0


def _words(refusal: dict[str, Any]) -> str:
    head = f"{refusal['at']}  {refusal['reason']}  ({refusal['body_bytes']} bytes of body)"
    report = refusal["report"]
    if report is None:
        return f"{head}\n  the body is too long to be kept whole; capture one to explain it"
    lines = [printable(head, 200)]
    for finding in report["findings"]:
        lines.append(f"  - {finding['sentence']}")
        lines.append(f"    {finding['hint']}")
    return "\n".join(lines)
