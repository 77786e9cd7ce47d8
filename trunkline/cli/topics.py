"""`trunkline topics`: what topics there should be, what there is, and making what is missing."""

import argparse
import asyncio
import json

from trunkline import topics
from trunkline.cli.wiring import open_stream, settings_of
from trunkline.clock import SystemClock
from trunkline.settings import Settings
from trunkline.stream import TopicSpec, TopicState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", choices=("plan", "apply"), help="show the differences, or create what is missing"
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(arguments: argparse.Namespace) -> int:
    return asyncio.run(_run(settings_of(arguments), arguments))


async def _run(settings: Settings, arguments: argparse.Namespace) -> int:
    specs = topics.specs(settings.topics)
    async with open_stream(settings, SystemClock()) as stream:
        states = await stream.inspect(specs)
        missing = {state.name for state in states if not state.exists}
        if arguments.action == "apply" and missing:
            await stream.create([spec for spec in specs if spec.name in missing])
            states = await stream.inspect(specs)
    if arguments.json:
        print(json.dumps([_plain(*pair) for pair in zip(specs, states, strict=True)]))
    else:
        for spec, state in zip(specs, states, strict=True):
            created = arguments.action == "apply" and spec.name in missing and state.exists
            print(_line(spec, state, created=created))
    # A difference is never mended here: shrinking retention or moving partitions can lose events.
    return 0 if all(state.exists and not state.differences for state in states) else 1


def _line(spec: TopicSpec, state: TopicState, *, created: bool) -> str:
    if not state.exists:
        days = spec.retention_ms / 86_400_000
        return f"missing  {spec.name}: would have {spec.partitions} partitions, {days:g} days"
    if state.differences:
        return f"differs  {spec.name}: " + "; ".join(state.differences)
    return f"{'created' if created else 'ok':<8} {spec.name}"


def _plain(spec: TopicSpec, state: TopicState) -> dict[str, object]:
    return {
        "topic": spec.name,
        "exists": state.exists,
        "differences": list(state.differences),
        "wanted": {
            "partitions": spec.partitions,
            "replicas": spec.replicas,
            "in_sync_replicas_min": spec.in_sync_replicas_min,
            "retention_ms": spec.retention_ms,
            "compacted": spec.compacted,
            "record_bytes_max": spec.record_bytes_max,
        },
    }
