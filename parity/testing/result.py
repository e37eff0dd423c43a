"""The fixture's value: a comparison that a test can assert."""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from parity.errors import ExitCode, ParityError
from parity.judging.judgement import Comparison, Judgement
from parity.judging.verdict import StepVerdict
from parity.testing.request import Asked

if TYPE_CHECKING:
    from parity.compare import Onlooker

LINE = 100
"""Columns of a report inside pytest's own."""


class ParityFailure(AssertionError):
    """The candidate is not at parity; the message is the report."""


@dataclass(frozen=True)
class ParityResult:
    """What was found.

    Attributes:
        comparison: the verdicts.
        following: the command to type next where they are not parity.
        note: how to read errors that were only estimated; empty where they are exact.
    """

    comparison: Comparison
    following: str = ""
    note: str = ""

    @property
    def judgements(self) -> tuple[Judgement, ...]:
        """One a scenario."""
        return self.comparison.judgements

    @property
    def first_divergence(self) -> StepVerdict | None:
        """The first introduced step of the first scenario that diverged."""
        return next((first for one in self.judgements if (first := one.first_divergence)), None)

    def assert_parity(self) -> None:
        """Fail unless every step is covered and within its floor, in every scenario.

        Raises:
            ParityFailure: with the report, and the command to type next.
        """
        __tracebackhide__ = True
        if self.comparison.exit_code is not ExitCode.PARITY:
            raise ParityFailure(self.text())

    def text(self) -> str:
        """The report of `parity compare`, as text."""
        from parity.report.console import console, plain, print_line
        from parity.report.terminal import print_comparison

        stream = io.StringIO()
        out = console(stream, width=LINE)
        print_comparison(self.comparison, out)
        if self.note:
            print_line(out, f"golden     {self.note}")
        if self.following:
            print_line(out, f"next       {plain(self.following)}")
        return f"{self._headline()}\n\n{stream.getvalue()}"

    def _headline(self) -> str:
        """What pytest's own summary shows: its first line."""
        from parity.report.sentences import WORD, in_phase, title

        wrong = [one for one in self.judgements if one.exit_code is not ExitCode.PARITY]
        if not wrong:
            return WORD[self.comparison.exit_code]
        first = wrong[0].first_divergence
        return f"{title(wrong[0])}: {WORD[wrong[0].exit_code]}{f' at {in_phase(first)}' if first else ''}"

    def properties(self) -> Iterator[tuple[str, str]]:
        """What JUnit files say of it."""
        from parity.report.sentences import WORD, in_phase

        worst = [one.worst.ratio for one in self.judgements if one.worst is not None]
        first = self.first_divergence
        yield "parity_verdict", WORD[self.comparison.exit_code]
        yield "parity_worst_floors", f"{max(worst, default=float('nan')):.3g}"
        yield "parity_first_divergence", in_phase(first) if first else ""


def run(request: pytest.FixtureRequest) -> ParityResult:
    """Compare what the test asks for. What cannot be compared fails the test in one line."""
    from parity.checkpoint import find_checkpoint
    from parity.report.gather import Gatherer
    from parity.report.html import require_templates
    from parity.report.vocabulary import read_vocabulary
    from parity.reports import write_report

    item = request.node
    report = item.config.getoption("parity_report")
    try:
        if report:
            require_templates()
        with _importable():
            asked = Asked.of(item)
            gatherer = Gatherer(lambda: read_vocabulary(find_checkpoint(asked.checkpoint).path))
            result = _golden(asked, item) if asked.golden else _compare(asked, gatherer.look if report else None)
        if report:
            write_report(gatherer.report(result.comparison), Path(report) / _folder_name(item.nodeid))
    except ParityError as error:
        pytest.fail(f"parity: {error}", pytrace=False)
    item.user_properties.extend(result.properties())
    return result


def _compare(asked: Asked, look: Onlooker | None) -> ParityResult:
    from parity.checkpoint import find_checkpoint
    from parity.compare import Request, compare
    from parity.running.progress import Silent

    request = Request(
        checkpoint=find_checkpoint(asked.checkpoint),
        candidates=(asked.candidate,),
        dtype=asked.dtype,
        scenarios=asked.names,
        prompt=asked.prompt,
        reference=asked.reference,
    )
    following = f"pytest {shlex.quote(asked.test)} --parity-report parity-report"
    return ParityResult(compare(request, progress=Silent(), look=look), following)


def _golden(asked: Asked, item: pytest.Item) -> ParityResult:
    from parity.golden.checking import check
    from parity.report.goldens import ESTIMATED
    from parity.running.progress import Silent

    golden_set = asked.golden_set
    if item.config.getoption("parity_update_golden"):
        _update(asked, item)
    comparison = check(golden_set, asked.candidate, asked.dtype, only=asked.names, progress=Silent())
    return ParityResult(comparison, _full_comparison(asked, comparison), ESTIMATED)


def _update(asked: Asked, item: pytest.Item) -> None:
    """Make the test's goldens anew; the summary says what changed."""
    from parity.golden.updating import update
    from parity.report.console import console
    from parity.report.goldens import print_update
    from parity.running.progress import Silent

    stream = io.StringIO()
    print_update(update(asked.golden_set, only=asked.names, progress=Silent()), console(stream, width=LINE))
    item.user_properties.append(("parity_renewed", f"{item.nodeid}\n{stream.getvalue()}"))


def _full_comparison(asked: Asked, comparison: Comparison) -> str:
    """The comparison with a lockstep run, of the first golden that diverged."""
    for judgement in comparison.judgements:
        if judgement.exit_code is not ExitCode.PARITY and asked.reference is None:
            model = f" --model {shlex.quote(asked.checkpoint)}" if asked.checkpoint else ""
            who = f"--candidates {shlex.quote(asked.candidate)} --dtype {asked.dtype}"
            return f"parity compare{model} {who} --scenario {judgement.scenario.rpartition('.')[2]}"
    return f"pytest {shlex.quote(asked.test)} --parity-report parity-report"


def _folder_name(test: str) -> str:
    """A test's id as a name that every file system takes; no two xdist workers write the same file."""
    from hashlib import sha256

    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", test).strip("-.")[:80]
    return f"{readable}-{sha256(test.encode()).hexdigest()[:8]}"


@contextmanager
def _importable() -> Iterator[None]:
    """Workers import what the test could: pytest puts folders on the path that a new process would not have."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
