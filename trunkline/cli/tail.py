"""`trunkline tail`: shows the events of the stream as they become durable."""

import argparse
import asyncio
import sys
from collections.abc import Collection
from dataclasses import dataclass

from trunkline import log, service, topics
from trunkline.cli.wiring import embedded, open_stream, settings_of, sqlite_path
from trunkline.clock import SystemClock
from trunkline.console.lines import Filter, Proof, json_line, prove, text_line
from trunkline.envelope import Envelope
from trunkline.errors import Misconfigured, NotReachable
from trunkline.keys import Keyring
from trunkline.settings import Settings
from trunkline.stream import Start, Stream

_FETCH_RECORDS_MAX = 500
_FETCH_SECONDS = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--kind", action="append", default=[], metavar="PATTERN", help="as 'call.*'; repeatable")
    add("--key", help="one call, room, order: the whole key")
    add("--account", help="one account, by its name in the settings")
    add("--topic", action="append", default=[], help="as telnyx.calls or calls; repeatable")
    add("--from-start", action="store_true", help="first what the stream still keeps")
    add("--count", type=_positive, metavar="N", help="end after N events")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--raw", action="store_true", help="the exact bodies, a line end after each")
    form.add_argument("--json", action="store_true", help="an object a line")
    add("--null", action="store_true", help="with --raw: a NUL byte after each body instead")
    add("--unmasked", action="store_true", help="show numbers and what people said")
    add("--prove", action="store_true", help="verify each signature again")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number above 0")
    return int(text)


@dataclass(slots=True)
class _Output:
    """How an event is written, and how many were."""

    raw_end: bytes | None  # after each exact body; None for lines
    json: bool
    masked: bool
    known: Collection[str] | None  # keys to compare proofs with; None to prove nothing
    left: int | None
    written: int = 0
    unproven: int = 0

    @property
    def done(self) -> bool:
        return self.left is not None and self.written >= self.left

    def write(self, envelope: Envelope) -> None:
        proof = None if self.known is None else prove(envelope, self.known)
        self.written += 1
        self.unproven += proof is not None and not proof.good
        if self.raw_end is not None:
            sys.stdout.buffer.write((envelope.delivery.value or b"") + self.raw_end)
        else:
            sys.stdout.write(self._line(envelope, proof) + "\n")

    def _line(self, envelope: Envelope, proof: Proof | None) -> str:
        render = json_line if self.json else text_line
        return render(envelope, proof, masked=self.masked)


def run(arguments: argparse.Namespace) -> int:
    if arguments.raw and sys.stdout.isatty():
        raise Misconfigured("--raw", "bytes of strangers go to a pipe or a file, not to a terminal")
    if arguments.null and not arguments.raw:
        raise Misconfigured("--null", "goes with --raw")
    settings = settings_of(arguments)
    names = _topics(settings, arguments.topic)
    output = _Output(
        raw_end=(b"\0" if arguments.null else b"\n") if arguments.raw else None,
        json=arguments.json,
        masked=not arguments.unmasked,
        known=_known_keys(settings) if arguments.prove else None,
        left=arguments.count,
    )
    if embedded(settings):
        # Opening would make the file, and wait for ever for events that go elsewhere.
        path = sqlite_path(settings.stream.partition("://")[2])
        if not path.exists():
            raise NotReachable(
                f"there is no stream at {path.resolve()} yet; `trunkline up` or `trunkline ingest` "
                "makes it, and TRUNKLINE_STREAM says where it is"
            )
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal in ASCII
    wanted = Filter(tuple(arguments.kind), arguments.key, arguments.account)
    start = Start.EARLIEST if arguments.from_start else Start.LATEST
    return service.run(lambda stop: _tail(settings, names, start, wanted, output, stop))


async def _tail(
    settings: Settings,
    names: list[str],
    start: Start,
    wanted: Filter,
    output: _Output,
    stop: asyncio.Event,
) -> int:
    logs = log.start(settings.log)
    try:
        async with open_stream(settings, SystemClock()) as stream:
            await _follow(stream, names, start, wanted, output, stop)
    finally:
        logs.stop()
    if output.known is not None:
        proven = output.written - output.unproven
        print(f"{proven} of {output.written} events proven", file=sys.stderr)
    return 1 if output.unproven else 0


async def _follow(
    stream: Stream,
    names: list[str],
    start: Start,
    wanted: Filter,
    output: _Output,
    stop: asyncio.Event,
) -> None:
    subscription = await stream.subscribe(names, start)
    try:
        while not (stop.is_set() or output.done):
            for delivery in await subscription.fetch(_FETCH_RECORDS_MAX, _FETCH_SECONDS):
                envelope = Envelope.of(delivery)
                if not output.done and wanted.admits(envelope):
                    output.write(envelope)
            sys.stdout.flush()
    finally:
        await subscription.close()


def _topics(settings: Settings, words: list[str]) -> list[str]:
    """What the door writes to, or the named ones; with the installation's prefix."""
    found = []
    for word in words or topics.INGESTED:
        names = [name for name in topics.ALL if word in (name, name.partition(".")[2])]
        if not names:
            raise Misconfigured("--topic", f"{word!r} is none of {', '.join(topics.ALL)}")
        found += names
    return [settings.topics.prefix + name for name in dict.fromkeys(found)]


def _known_keys(settings: Settings) -> frozenset[str]:
    telnyx = settings.telnyx
    if not (settings.accounts or telnyx.public_key or telnyx.public_key_file):
        return frozenset()  # reading needs no key; then none is known
    return frozenset(key.text for keys in Keyring.of(settings).accounts.values() for key in keys)
