"""Whatever is in a file, it is read, or refused in one line: found by spoiling files at random.

``make fuzz`` takes ten minutes and draws anew each time; otherwise the same few inputs are tried every time. What it
finds is mended in the product, and the file that showed it is kept in ``seeds/TARGET/``, under a name that says what
was wrong; the failed test says where that file is.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from parity.errors import ExitCode
from tests.bad_input.table import LONGEST, listing
from tests.fuzz.limits import frugal
from tests.fuzz.spoiling import spoilt
from tests.fuzz.targets import TARGETS, Target

SEEDS = Path(__file__).parent / "seeds"
SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
"""Of each process, for its share of the targets; 0: the same few inputs every time."""
KEPT = sorted(str(file.relative_to(SEEDS)) for file in SEEDS.glob("*/*"))
EXAMPLES = 25
"""Of each target where no time is given: some 30 s in all."""
OWN_FAULT = "parity: internal error"


class Fuzzed:
    """Has a target read with one content after the other; the last stays in its place."""

    def __init__(self, target: Target, refused) -> None:
        target.around(refused.here)
        self._command, self._runner = target.command, refused
        self.file = refused.here / target.path
        self.whole = self.file.read_bytes()

    def __call__(self, content: bytes) -> None:
        """It is read, or refused in one line."""
        self.file.unlink()  # it may be a link to the embedded checkpoint's
        self.file.write_bytes(content)
        before = listing(self._runner.here)
        with frugal():
            code, _, complaint = self._runner.run(self._command)
        assert code in ExitCode.__members__.values(), f"exit code {code} for {self.file}"
        if complaint:
            assert code >= ExitCode.USAGE, complaint
            assert (complaint.count("\n"), complaint[-1:]) == (1, "\n"), complaint
            assert not complaint.startswith(OWN_FAULT), f"{complaint} for {self.file}"
            assert len(complaint) - 1 <= LONGEST
            assert listing(self._runner.here) == before, complaint


@pytest.fixture
def fuzzed(request, refused):
    """The target that the test's parameter names."""
    return Fuzzed(TARGETS[request.param.partition("/")[0]], refused)


@pytest.mark.parametrize("fuzzed", TARGETS, indirect=True)
def test_what_is_spoilt_is_read_or_refused(fuzzed, request):
    ways = TARGETS[request.node.callspec.params["fuzzed"]].ways

    @settings(max_examples=EXAMPLES, derandomize=not SECONDS, database=None, suppress_health_check=list(HealthCheck))
    @given(spoilt(fuzzed.whole, *ways))
    def holds(content: bytes) -> None:
        fuzzed(content)

    until = time.monotonic() + SECONDS * int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) / len(TARGETS)
    holds()
    while time.monotonic() < until:
        holds()


@pytest.mark.parametrize("fuzzed", KEPT, indirect=True)
def test_what_was_found_stays_mended(fuzzed, request):
    fuzzed((SEEDS / request.node.callspec.params["fuzzed"]).read_bytes())


@pytest.mark.parametrize("fuzzed", TARGETS, indirect=True)
def test_what_was_not_spoilt_is_read(fuzzed, capfd):
    """What is refused is so for what was spoilt."""
    assert fuzzed._runner.run(fuzzed._command)[2] == ""
