"""`trunkline`: finds the command, imports only that, and turns errors into words and exit codes."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from trunkline import __version__
from trunkline.errors import Misconfigured, NotReachable, StreamUnavailable, TrunklineError

OK, FAILED, USAGE, NOT_REACHABLE = range(4)

COMMANDS = {
    "up": "run everything on this machine, with live synthetic traffic",
    "ingest": "the door: receive, prove and keep webhooks",
    "process": "run processors: react to events, in order, until told to stop",
    "dead": "list, show, replay or drop what could not be processed",
    "audit": "whether every event is accounted for",
    "topics": "plan or apply: what topics the stream should have",
    "tail": "show events as they arrive",
    "explain": "why a webhook was refused",
    "config": "show or check the settings in force",
}


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return OK if words else USAGE
    if words[0] == "--version":
        print(f"trunkline {__version__}")
        return OK
    name, *rest = words
    if name not in COMMANDS:
        print(f"trunkline: there is no command {name!r}\n\n{_overview()}", file=sys.stderr)
        return USAGE
    command = importlib.import_module(f"trunkline.cli.{name}")
    parser = argparse.ArgumentParser(f"trunkline {name}", description=COMMANDS[name])
    parser.add_argument("--config", metavar="FILE", help="settings file (default trunkline.yaml)")
    command.add_arguments(parser)
    arguments = parser.parse_args(rest)
    if arguments.config is None:
        arguments.config = os.environ.get("TRUNKLINE_CONFIG")
    return _run(command.run, arguments)


def _run(run: object, arguments: argparse.Namespace) -> int:
    assert callable(run)
    try:
        code: int = run(arguments)
    except Misconfigured as error:
        return _fail(error, USAGE)
    except (NotReachable, StreamUnavailable) as error:
        return _fail(error, NOT_REACHABLE)
    except TrunklineError as error:
        return _fail(error, FAILED)
    except BrokenPipeError:
        # Whoever read our output has gone, as in `trunkline tail | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return OK
    return code


def _fail(error: TrunklineError, code: int) -> int:
    print(f"trunkline: {error}", file=sys.stderr)
    return code


def _overview() -> str:
    lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: trunkline COMMAND [--config FILE] …",
            "",
            "Keeps every webhook of a Telnyx account: proven, durable, in order.",
            "",
            *lines,
            "",
            "`trunkline COMMAND --help` tells more. Settings: trunkline.yaml and the environment.",
            "Exit codes: 0 ok, 1 failed, 2 usage or settings, 3 not reachable.",
        ]
    )
