"""`trunkline explain`, as an operator runs it: on a captured request, and on a running door."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.load.process import DoorProcess
from trunkline.clock import rfc3339
from trunkline.keys import DevelopmentKey

KEY = DevelopmentKey()
BODY = b'{"data":{"id":"e-1","event_type":"call.hangup","payload":{}}}'


def trunkline(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trunkline", *arguments],
        env={"TELNYX_PUBLIC_KEY": KEY.public.text, "PATH": ""},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def captured(folder: Path, body: bytes, at: int = 1_790_000_000) -> list[str]:
    head = (
        "POST /webhooks/telnyx HTTP/1.1\r\nHost: example.test\r\n"
        f"Telnyx-Signature-Ed25519: {KEY.sign(str(at), BODY)}\r\nTelnyx-Timestamp: {at}\r\n\r\n"
    )
    (folder / "head").write_text(head)
    (folder / "body").write_bytes(body)
    return ["--headers", str(folder / "head"), "--body", str(folder / "body")]


def test_an_untouched_request_would_be_accepted(tmp_path: Path) -> None:
    done = trunkline("explain", *captured(tmp_path, BODY), "--at", rfc3339(1_790_000_010))
    assert done.returncode == 0, done.stderr


def test_a_tampered_body_is_named_for_what_was_done_to_it(tmp_path: Path) -> None:
    spaced = json.dumps(json.loads(BODY)).encode()
    done = trunkline("explain", *captured(tmp_path, spaced), "--at", rfc3339(1_790_000_010))
    assert done.returncode == 1
    assert "its JSON was parsed and written anew" in done.stdout


def test_a_captured_request_is_old_unless_told_when_it_came(tmp_path: Path) -> None:
    done = trunkline("explain", *captured(tmp_path, BODY), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["facts"]["skew_seconds"] > 300


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--headers", "there-is-no-such-file", "--body", "nor-this"], "cannot read"),
        (["--body", "only-this"], "give both"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(arguments: list[str], words: str) -> None:
    done = trunkline("explain", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_door_that_does_not_run_is_not_reachable() -> None:
    done = trunkline("explain", "--probe", "127.0.0.1:9")
    assert done.returncode == 3
    assert "no door answers" in done.stderr


def test_a_running_door_explains_its_last_refusals(tmp_path: Path) -> None:
    settings = {"TELNYX_PUBLIC_KEY": KEY.public.text}
    with DoorProcess(tmp_path, f"sqlite:///{tmp_path}/stream.db", settings) as door:
        now = str(int(time.time()))
        headers = {"telnyx-signature-ed25519": KEY.sign(now, BODY), "telnyx-timestamp": now}
        url = f"http://127.0.0.1:{door.port}/webhooks/telnyx"
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(urllib.request.Request(url, BODY + b"\n", headers))
        refused.value.close()
        done = trunkline("explain", "--probe", f"127.0.0.1:{door.probe_port}")
    assert done.returncode == 0, done.stderr
    assert "wrong_signature" in done.stdout
    assert "the body was changed on the way" in done.stdout
