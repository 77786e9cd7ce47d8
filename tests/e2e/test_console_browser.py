"""The console in a real Chromium: figures and events appear, and no rule of the page is broken."""

import asyncio
import html
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.upping import Up
from tests.load.process import HOST
from trunkline.probe import Page, serve

pytestmark = pytest.mark.e2e

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=4000",
    "--enable-logging=stderr",
)


def browse(url: str, *flags: str) -> subprocess.CompletedProcess[str]:
    browser = shutil.which("chromium")
    assert browser, "no chromium: apt-get install -y chromium"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        return subprocess.run(
            [browser, *_FLAGS, f"--user-data-dir={profile}", *flags, url],
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        )


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def text_of(dom: str, name: str) -> str:
    found = re.search(rf'id="{name}"[^>]*>(.*?)</', dom, re.DOTALL)
    assert found, f"no element {name}"
    return html.unescape(found[1])


def rows_of(dom: str, name: str) -> list[list[str]]:
    table = re.search(rf'<table id="{name}".*?<tbody>(.*?)</tbody>', dom, re.DOTALL)
    assert table, f"no table {name}"
    return [
        [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)]
        for row in re.findall(r"<tr>(.*?)</tr>", table[1], re.DOTALL)
    ]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("console")
    with Up(folder, "--rate", "60", "--seconds", "180") as running:
        running.wait_for(
            lambda state: (
                len(state["events"]) == 30
                and len(state["refusals"]) == 3
                and len(state["accepted_series"]) > 2
            )
        )
        yield running


def test_the_page_shows_live_figures_and_events(up: Up) -> None:
    before = up.state()
    done = browse(f"http://{HOST}:{up.console_port}/", "--dump-dom")
    after = up.state()
    dom = done.stdout
    assert complaints(done) == []
    assert text_of(dom, "ready") == "ready"
    assert float(text_of(dom, "accepted")) > 0
    figures = dict(rows_of(dom, "verdicts"))
    received = int(figures["received"].replace(",", ""))
    assert before["totals"]["received"] <= received <= after["totals"]["received"]
    assert {row[0].replace(" ", "_") for row in rows_of(dom, "refusals")} == {
        found["reason"] for found in after["refusals"]
    }
    events = rows_of(dom, "events")
    assert len(events) == 30
    assert any("•••" in row[4] for row in events)
    assert not re.search(r"\+1\d{10}", dom)
    assert len(rows_of(dom, "topics")) == 5
    assert f'href="http://{HOST}:{up.probe_port}/metrics"' in dom
    assert "<polyline points=" in dom


@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_is_drawn_at_desk_and_phone_width(up: Up, tmp_path: Path, width: int) -> None:
    picture = tmp_path / "page.png"
    size = f"--window-size={width},900"
    browse(f"http://{HOST}:{up.console_port}/", size, f"--screenshot={picture}")
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20]) == width
    assert len(set(data)) > 200, "an empty picture"


async def test_a_page_that_breaks_the_rules_is_noticed() -> None:
    """Shows that the check above sees what it looks for."""
    page = Page(b'<img src="http://127.0.0.1:9/x.png"><p id="p">hi</p>', "text/html")
    async with serve("console.bind", f"{HOST}:0", {"/": lambda: page}) as address:
        done = await asyncio.to_thread(browse, f"http://{address}/", "--dump-dom")
    assert complaints(done)
