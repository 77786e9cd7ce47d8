"""What the tests of the lake share: records known by their offset, and what a reader finds."""

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trunkline.clock import rfc3339
from trunkline.stream import Delivery, Headers

TOPIC = "telnyx.calls"
START_MS = 1_767_225_595_000  # five seconds before a new day, so that dates split
KINDS = ("call.initiated", "call.answered", "call.hangup")


def headers(offset: int, kind: str | None, received_ms: int) -> Headers:
    received_at = rfc3339(received_ms / 1_000).encode()
    known = [
        ("ce_id", b"id-%d" % offset),
        ("tl-account", b"default"),
        ("tl-received-at", received_at),
    ]
    return (*known, ("ce_type", kind.encode())) if kind is not None else tuple(known)


def delivery(
    offset: int,
    timestamp_ms: int = START_MS,
    *,
    kind: str | None = KINDS[0],
    partition: int = 0,
    value: bytes | None = b'{"data":{}}',
) -> Delivery:
    found = headers(offset, kind, timestamp_ms)
    return Delivery(TOPIC, partition, offset, timestamp_ms, b"key", value, found)


def recorded(offset: int, *, step_ms: int = 40) -> Delivery:
    """The record at an offset of the stream that the publishers of a test all see."""
    body = json.dumps({"data": {"id": offset, "fill": "x" * (offset * 37 % 300)}})
    at = START_MS + offset * step_ms
    return delivery(offset, at, kind=KINDS[offset * 7 % 3], value=body.encode())


def on_disk(root: Path) -> dict[str, bytes]:
    """What a reader's glob finds."""
    found = root.glob("lake/date=*/kind=*/*.jsonl")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def lines(data: bytes) -> list[dict[str, Any]]:
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def offsets(files: Mapping[str, bytes]) -> dict[int, list[int]]:
    """By partition all offsets that are found, as often as they are found."""
    found = defaultdict(list)
    for data in files.values():
        in_file = [(line["partition"], line["offset"]) for line in lines(data)]
        assert in_file == sorted(in_file), "a file is in the order of its partition"
        for partition, offset in in_file:
            found[partition].append(offset)
    return {partition: sorted(each) for partition, each in found.items()}


def exact(files: Mapping[str, bytes], wanted: Iterable[int]) -> None:
    """Each record once, in order, in the file of its date and kind, with its own bytes."""
    assert offsets(files).get(0, []) == list(wanted)
    by_kind: dict[str, list[int]] = defaultdict(list)
    for name, data in sorted(files.items(), key=lambda item: item[0].rpartition("/")[2]):
        for line in lines(data):
            original = recorded(line["offset"])
            assert f"/kind={line['type']}/" in name
            assert f"date={line['received_at'][:10]}/" in name
            assert line["event"] == json.loads(original.value or b"")
            assert line["id"] == f"id-{line['offset']}"
            by_kind[f"{line['type']}{line['received_at'][:10]}"].append(line["offset"])
    for found in by_kind.values():
        assert found == sorted(found), "files by name are in the order of their partition"


def raw(line: Mapping[str, Any]) -> bytes:
    return base64.b64decode(line["raw_base64"], validate=True)
