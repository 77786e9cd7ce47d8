"""`trunkline config`: the settings in force, secrets masked, and whether they are good."""

import argparse
import json

import yaml

from trunkline import topics
from trunkline.cli.wiring import open_stream, settings_of
from trunkline.clock import SystemClock
from trunkline.config import describe
from trunkline.keys import Keyring


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("show", "check"))
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    if arguments.action == "show":
        shown = describe(settings)
        print(
            json.dumps(shown) if arguments.json else yaml.safe_dump(shown, sort_keys=False), end=""
        )
        return 0
    keyring = Keyring.of(settings)
    specs = topics.specs(settings.topics)
    open_stream(settings, SystemClock())  # reads the stream's URL; connects to nothing
    accounts = {name: [key.text for key in keys] for name, keys in keyring.accounts.items()}
    if arguments.json:
        print(json.dumps({"ok": True, "accounts": accounts, "topics": [s.name for s in specs]}))
    else:
        for name, keys in accounts.items():
            print(f"ok  account {name}: {len(keys)} public key{'s' if len(keys) > 1 else ''}")
        print(f"ok  stream, {len(specs)} topics; nothing was connected to")
    return 0
