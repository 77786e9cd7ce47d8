"""`trunkline dead`: the letters nobody has settled yet: listed, shown, replayed or dropped."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from trunkline import topics
from trunkline.cli.dead_letters import (
    DROPPED,
    REPLAYED,
    Found,
    Letters,
    Position,
    Selection,
    moment,
    obstacle,
)
from trunkline.cli.dead_lines import line, page, plain, safe_json, whole
from trunkline.cli.dead_settling import Settling
from trunkline.cli.reading import read_all, require_stream
from trunkline.cli.wiring import open_stream, settings_of
from trunkline.clock import SystemClock
from trunkline.errors import Misconfigured
from trunkline.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, meaning in (
        ("list", "one line a letter, oldest first"),
        ("show", "all that is known of one letter"),
        ("replay", "append the original records to their topics once more"),
        ("drop", "settle letters for good without doing anything"),
    ):
        action = actions.add_parser(name, help=meaning, description=meaning)
        add = action.add_argument
        add("--config", metavar="FILE", default=argparse.SUPPRESS, help="settings file")
        if name == "show":
            add("positions", nargs=1, metavar="POSITION", type=_position, help="as in the list")
            form = action.add_mutually_exclusive_group()
            form.add_argument("--raw", action="store_true", help="the exact bytes of the body")
            form.add_argument("--json", action="store_true", help="machine-readable output")
        else:
            add("positions", nargs="*", metavar="POSITION", type=_position, help="as 3:17")
            _add_filters(action)
            add("--json", action="store_true", help="an object a line")
        if name in ("list", "show"):
            add("--unmasked", action="store_true", help="show numbers and what people said")
        else:
            add("--all", action="store_true", help="every open letter")
            add("--dry-run", action="store_true", help="only say what would be done")
        if name == "drop":
            add("--yes", action="store_true", help="needed: what is dropped does not come back")


def _add_filters(action: argparse.ArgumentParser) -> None:
    add = action.add_argument
    add("--reason", action="append", default=[], metavar="PATTERN", help="as 'retries*'")
    add("--processor", action="append", default=[], metavar="NAME", help="repeatable")
    add("--topic", action="append", default=[], help="of origin, as telnyx.calls or calls")
    add("--key", help="one call, room, order: the whole key")
    add("--since", metavar="TIME", help="died after it: RFC 3339, or 2h for two hours ago")
    add("--until", metavar="TIME", help="died before it")


def _position(text: str) -> Position:
    try:
        return Position.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    raw = getattr(arguments, "raw", False)
    if raw and sys.stdout.isatty():
        raise Misconfigured("--raw", "bytes of strangers go to a pipe or a file, not to a terminal")
    now = SystemClock.now()
    selection = _selection(arguments, settings.topics.prefix, now)
    if arguments.action in ("replay", "drop"):
        _require_meaning(arguments, selection)
    require_stream(settings)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal in ASCII
    return asyncio.run(_run(settings, arguments, selection, now))


def _selection(arguments: argparse.Namespace, prefix: str, now: float) -> Selection:
    if arguments.action == "show":
        return Selection(frozenset(arguments.positions))
    times: dict[str, float] = {}
    for name in ("since", "until"):
        if text := getattr(arguments, name):
            try:
                times[name] = moment(text, now)
            except ValueError as error:
                raise Misconfigured(f"--{name}", str(error)) from None
    return Selection(
        positions=frozenset(arguments.positions),
        reasons=tuple(arguments.reason),
        processors=tuple(arguments.processor),
        topics=tuple(_topic(word, prefix) for word in arguments.topic),
        key=arguments.key,
        since=times.get("since"),
        until=times.get("until"),
    )


def _topic(word: str, prefix: str) -> str:
    for name in topics.ALL:
        if word in (name, name.partition(".")[2]):
            return prefix + name
    raise Misconfigured("--topic", f"{word!r} is none of {', '.join(topics.ALL)}")


def _require_meaning(arguments: argparse.Namespace, selection: Selection) -> None:
    if selection.everything != arguments.all:
        raise Misconfigured(
            f"dead {arguments.action}",
            "say which letters: positions, filters, or --all and neither",
        )
    if arguments.action == "drop" and not (arguments.yes or arguments.dry_run):
        raise Misconfigured("dead drop", "what is dropped does not come back; say so with --yes")


async def _run(
    settings: Settings, arguments: argparse.Namespace, selection: Selection, now: float
) -> int:
    topic = settings.topics.prefix + topics.DEAD
    async with open_stream(settings, SystemClock()) as stream:
        letters = Letters()
        await read_all(stream, [topic], "reading dead letters", letters.add)
        if letters.foreign:
            at = ", ".join(map(str, letters.foreign[:5]))
            print(f"{len(letters.foreign)} records are no letters: {at} …", file=sys.stderr)
        chosen = selection.of(letters.open())
        if arguments.action == "list":
            return _list(chosen, arguments, now)
        if arguments.action == "show":
            return _show(letters, arguments, now)
        code = _unknown(letters, selection)
        if arguments.dry_run:
            return _list(chosen, arguments, now, would=arguments.action) or code
        settling = Settling(stream, topic, as_json=arguments.json)
        await (settling.replay if arguments.action == "replay" else settling.drop)(chosen)
        return settling.report() or code


def _list(
    chosen: Sequence[Found], arguments: argparse.Namespace, now: float, would: str = ""
) -> int:
    masked = not getattr(arguments, "unmasked", False)
    for found in chosen:
        shown = (
            safe_json(plain(found, masked=masked))
            if arguments.json
            else line(found, now, masked=masked)
        )
        why_not = obstacle(found.letter) if would == "replay" else None
        print(shown if why_not is None or arguments.json else f"{shown}  (cannot: {why_not})")
    sys.stdout.flush()
    count = f"{len(chosen)} letter{'' if len(chosen) == 1 else 's'}"
    print(f"{count} {f'would be {_done(would)}' if would else 'open'}", file=sys.stderr)
    return 0


def _show(letters: Letters, arguments: argparse.Namespace, now: float) -> int:
    (position,) = arguments.positions
    found = letters.found.get(position)
    if found is None:
        print(f"there is no letter at {position}", file=sys.stderr)
        return 1
    state = letters.settled.get(position, "open")
    masked = not arguments.unmasked
    if arguments.raw:
        sys.stdout.buffer.write(found.letter.value or b"")
    elif arguments.json:
        print(safe_json(whole(found, state, masked=masked)))
    else:
        print(page(found, state, now, masked=masked))
    sys.stdout.flush()
    return 0


def _unknown(letters: Letters, selection: Selection) -> int:
    """Positions asked for that are not open: settled ones need nothing more, others are wrong."""
    code = 0
    for position in sorted(selection.positions):
        if position in letters.settled:
            print(f"{position}: {letters.settled[position]} before", file=sys.stderr)
        elif position not in letters.found:
            print(f"{position}: there is no letter", file=sys.stderr)
            code = 1
    return code


def _done(action: str) -> str:
    return {"replay": REPLAYED, "drop": DROPPED}[action]
