"""What all suites share: the broker, and the rule that nothing is skipped."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.kafka_server import kafka_server

__all__ = ["kafka_server"]

REPORT = "FAULT_REPORT"

# The same examples every time: a build must not depend on the dice, nor on how fast they are cast.
# `--hypothesis-profile=default` casts them anew.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def fault_report(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file that fault tests, and the processes they start, write a line each to."""
    if REPORT not in os.environ:
        os.environ[REPORT] = str(tmp_path_factory.mktemp("report") / "faults.txt")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    report = Path(os.environ.get(REPORT, ""))
    if report.is_file():
        terminalreporter.section("fault report")
        terminalreporter.write(report.read_text(encoding="utf-8"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A suite that skipped proved nothing: that is a failure, not a footnote."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
