"""The rules of the house, held over the source itself."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("trunkline", "ingest", "processors", "sinks")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# One door per outside library: the only files (by prefix) that may import it.
DOORS = {
    "aiokafka": ("trunkline/stream/kafka",),
    "sqlite3": ("trunkline/stream/sqlite",),
    "nacl": ("trunkline/keys.py",),
    "httptools": ("ingest/connection.py",),
    "uvloop": ("trunkline/service.py",),
    "prometheus_client": ("trunkline/metrics.py", "trunkline/instruments.py"),
    "yaml": ("trunkline/config.py", "trunkline/cli/config.py"),
    "pydantic": ("trunkline/settings.py", "trunkline/config.py", "trunkline/keys.py"),
    "time": ("trunkline/clock.py",),
}
# No I/O, no waiting, no clock of their own.
PURE = (
    "ingest/answers.py",
    "ingest/forensics/",
    "ingest/gate.py",
    "ingest/head.py",
    "ingest/reading.py",
    "processors/",
    "trunkline/backoff.py",
    "trunkline/cli/accounting.py",
    "trunkline/cli/dead_letters.py",
    "trunkline/cli/dead_lines.py",
    "trunkline/envelope.py",
    "trunkline/errors.py",
    "trunkline/expositions.py",
    "trunkline/mask.py",
    "trunkline/outcome.py",
    "trunkline/stream/note.py",
    "trunkline/stream/tracker.py",
    "trunkline/topics.py",
    "trunkline/worker/deferral.py",
    "trunkline/worker/holdings.py",
    "trunkline/worker/letters.py",
    "trunkline/worker/lines.py",
    "trunkline/worker/retries.py",
)
IMPURE = {"asyncio", "socket", "subprocess", "threading", "time", "random", "os"}
BANNED = ("manager", "helper", "util", "base")
LINES_MAX = 300


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), name_of(path))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: say imports in full"
            yield node.module or ""


def room(module: str) -> str:
    """The part of the house a module belongs to: trunkline.cli and .console are the top floor."""
    if module.startswith(("trunkline.cli", "trunkline.console", "trunkline.__main__")):
        return "top"
    if module.startswith("trunkline.simulator"):
        return "simulator"
    package = module.partition(".")[0]
    return {"trunkline": "kernel"}.get(package, package)


ARROWS = {
    "kernel": {"kernel"},
    "ingest": {"ingest", "kernel"},
    "processors": {"processors", "kernel"},
    "sinks": {"sinks", "kernel"},
    "top": {"top", "simulator", "ingest", "processors", "sinks", "kernel"},
}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_arrows_run_one_way(path: Path) -> None:
    here = room(name_of(path).removesuffix(".py").replace("/", "."))
    for module in imports(path):
        if module.partition(".")[0] in PACKAGES:
            assert room(module) in ARROWS[here], f"{name_of(path)} must not import {module}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_each_outside_library_has_one_door(path: Path) -> None:
    for module in imports(path):
        doors = DOORS.get(module.partition(".")[0])
        if doors is not None:
            assert name_of(path).startswith(doors), f"{name_of(path)} must not import {module}"


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).startswith(PURE)], ids=name_of)
def test_decisions_are_pure(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        assert not isinstance(node, ast.AsyncFunctionDef), f"{name_of(path)} awaits"
    for module in imports(path):
        assert module.partition(".")[0] not in IMPURE, f"{name_of(path)} imports {module}"


def test_every_pure_file_still_exists() -> None:
    names = [name_of(path) for path in SOURCES]
    for pure in PURE:
        assert any(name.startswith(pure) for name in names), pure


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_is_read_in_one_sitting_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(tree_of(path)), f"{name_of(path)} has no docstring"
    assert text.count("\n") <= LINES_MAX, f"{name_of(path)} is too long for one sitting"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_names_say_what_a_thing_is(path: Path) -> None:
    names = [path.stem]
    defined = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    names += [node.name for node in ast.walk(tree_of(path)) if isinstance(node, defined)]
    for name in names:
        words = re.findall(r"[a-z]+", re.sub(r"([A-Z])", r"_\1", name).lower())
        assert not set(words) & {*BANNED, *(word + "s" for word in BANNED)}, name


def test_each_package_name_is_ours() -> None:
    for package in PACKAGES:
        __import__(package)
        found = Path(str(sys.modules[package].__file__)).parent
        assert found == ROOT / package, f"{package} comes from {found}"


def test_the_project_stands_alone() -> None:
    outside = re.compile(r"\.\./shared|pypi\.org|pythonhosted\.org|repo\d?\.maven|registry\.npm")
    for path in ROOT.rglob("*"):
        relative = path.relative_to(ROOT)
        if path.suffix in {".py", ".md", ".toml", ".lock", ".yaml", ".xml"} and not any(
            part.startswith(".") for part in relative.parts
        ):
            assert not outside.search(path.read_text(encoding="utf-8")) or path == Path(__file__), (
                f"{relative} points outside"
            )
