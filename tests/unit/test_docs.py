"""The documents say what the program does: names in them are checked against the code."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from ingest.answers import FAULTS
from ingest.gate import REFUSALS
from trunkline.cli.main import COMMANDS
from trunkline.metrics import Metrics
from trunkline.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))


def text(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def settings() -> dict[str, object]:
    found: dict[str, object] = {}
    for field, info in Settings.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            for key, inner in info.annotation.model_fields.items():
                found[f"{field}.{key}"] = inner.get_default(call_default_factory=True)
        else:
            found[field] = info.get_default(call_default_factory=True)
    return found


def test_every_setting_is_listed_with_its_default_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \|[^|]+\| (.+) \|$", text("settings.md"), re.MULTILINE))
    wanted = {
        name: "none" if default is None else "empty" if default == "" else f"`{default}`"
        for name, default in settings().items()
        if default not in ((), [], {})
    }
    assert {name: rows.get(name) for name in wanted} == wanted
    assert set(rows) == set(settings())


def test_every_metric_is_listed_with_its_meaning() -> None:
    page = text("metrics.md")
    for family in Metrics().collect():
        assert family.name in page, family.name
        assert family.documentation in page, family.name


def test_metrics_that_are_named_exist() -> None:
    names = {family.name for family in Metrics().collect()}
    for page in PAGES:
        for name in re.findall(r"\btrunkline_[a-z_]+[a-z]", page.read_text(encoding="utf-8")):
            assert name.removesuffix("_total") in names, f"{page.name} names {name}"


def test_every_reason_of_refusal_is_explained() -> None:
    page = text("explain.md")
    for reason in (*FAULTS, *REFUSALS):
        assert f"`{reason}`" in page, reason


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_named_exist(page: Path) -> None:
    for command in re.findall(r"`(?:\.venv/bin/)?trunkline ([a-z]+)", page.read_text("utf-8")):
        assert command in COMMANDS, f"{page.name} names trunkline {command}"
