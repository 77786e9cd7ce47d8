"""A terminal sees how far long work has come; a file or a pipe sees nothing of it."""

import io
import sys

import pytest

from trunkline.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, *, done: int, total: int) -> str:
    monkeypatch.setattr(sys, "stderr", stderr)
    with Progress("reading", total) as progress:
        progress.advance(done)
    return stderr.getvalue()


def test_a_terminal_sees_a_bar_that_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, Terminal(), done=1_500, total=3_000)
    assert f"\rreading {'█' * 15}{'·' * 15} 1,500/3,000" in text
    assert text.endswith("\r\x1b[K")


def test_more_than_was_foreseen_is_no_more_than_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "3/3" in shown(monkeypatch, Terminal(), done=5, total=3)
    assert "1/1" in shown(monkeypatch, Terminal(), done=2, total=0)


def test_a_pipe_sees_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.StringIO(), done=5, total=10) == ""
