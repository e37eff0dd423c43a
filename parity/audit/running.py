"""An audit of several packages in several arithmetics."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from parity.audit.auditor import Auditor
from parity.audit.kept import AuditedTrial, AuditHead, AuditResults, key_of
from parity.audit.outcome import Outcome
from parity.audit.result import Audit, Audits
from parity.audit.trial import Trial, trials
from parity.checkpoint import Checkpoint
from parity.discovery import find
from parity.errors import UsageError
from parity.fault import Subject
from parity.judging.judge import ALLOWED
from parity.running.party import Party
from parity.running.plan import require_dtypes
from parity.running.progress import Progress
from parity.scratch import scratch
from parity.traces.writer import machine
from parity.variant import Catalogue

EVERY = "*"


@dataclass(frozen=True)
class AuditRequest:
    """What to audit.

    Attributes:
        packages: names of backends.
        scenarios: names of the reference's.
        only: names of the faults that are measured alone, ``*`` for any text.
        results: a file that grows with each run; one that is there is gone on with.
    """

    packages: tuple[str, ...]
    checkpoint: Checkpoint
    dtypes: tuple[str, ...]
    scenarios: tuple[str, ...]
    only: str = EVERY
    results: Path | None = None


def audit(request: AuditRequest, catalogue: Catalogue, progress: Progress) -> Audits:
    """Run every package, as it is installed and mended, and measure each of its faults.

    Raises:
        BackendUnavailable: when a package is not installed, or the reference itself fails.
        UsageError: for a backend that declares nothing to audit or lacks an arithmetic, or faults that do not show.
    """
    require_dtypes(request.packages, request.dtypes)
    subjects = {package: find(package).subject() for package in request.packages}
    planned = _planned(request, subjects)
    found = {package: _places(package, progress) for package in subjects}
    with _results(request, catalogue, subjects, found) as results:
        outcomes = [*_outcomes(request, catalogue, planned, results, progress)]
    return Audits(
        tuple(_audit(package, subject, found[package], outcomes) for package, subject in subjects.items()),
        model=request.checkpoint.name,
        prompt=catalogue.prompt,
        reference=catalogue.reference,
        samples=catalogue.samples.name,
        seconds=sum(line.seconds for line in results.found),
        machine=_machine(),
    )


@contextmanager
def _results(
    request: AuditRequest, catalogue: Catalogue, subjects: Mapping[str, Subject], found: Mapping[str, Mapping[str, Any]]
) -> Iterator[AuditResults]:
    """The file that was asked for, or one that nobody will read."""
    head = AuditHead(
        packages={
            package: (*map(" ".join, found[package]["versions"].items()), subject.digest)
            for package, subject in subjects.items()
        },
        reference=catalogue.reference,
        model=request.checkpoint.name,
        weights=request.checkpoint.weights,
        prompt=catalogue.prompt,
        samples=catalogue.samples.name,
        allowed=ALLOWED,
    )
    with scratch() as folder:
        yield AuditResults.begin(request.results or folder / "audit.jsonl", head)


def _outcomes(
    request: AuditRequest, catalogue: Catalogue, planned: Sequence[Trial], results: AuditResults, progress: Progress
) -> Iterator[Outcome]:
    """What became of each trial in each arithmetic, in the order of the plan; what is known is not run again."""
    for dtype in request.dtypes:
        known = results.outcomes(planned, dtype)
        if left := [trial for trial in planned if key_of(trial) not in known]:
            before = time.monotonic()
            diagnosed = dtype == request.dtypes[0]
            with Auditor(catalogue, request.checkpoint, dtype, progress, diagnosed=diagnosed) as auditor:
                for outcome in auditor.outcomes(left):
                    known[key_of(outcome.trial)] = outcome
                    if not outcome.crashed:  # who was ended from outside, for want of memory, has another try
                        results.add([AuditedTrial.of(outcome, time.monotonic() - before)])
                        before = time.monotonic()
        yield from (known[key_of(trial)] for trial in planned)


def _machine() -> str:
    found = machine()
    return f"{found['system']} {found['processor']} with {os.cpu_count()} cores, Python {found['python']}"


def _planned(request: AuditRequest, subjects: Mapping[str, Subject]) -> list[Trial]:
    """Every run, in each arithmetic."""
    found: list[Trial] = []
    for package, subject in subjects.items():
        only = [fault for fault in subject.faults if fnmatchcase(fault.name, request.only)]
        found += trials(package, subject, request.scenarios, only)
    if request.only != EVERY and not any(trial.fault for trial in found):
        raise UsageError(f"no fault like {request.only!r} shows in these scenarios")
    return found


def _places(package: str, progress: Progress) -> dict[str, Any]:
    """Versions and places of the installed source, which a worker imports."""
    with Party(package, package, progress=progress) as party:
        found: dict[str, Any] = party.call("places")
        return found


def _audit(package: str, subject: Subject, found: Mapping[str, Any], outcomes: Iterable[Outcome]) -> Audit:
    places = {name: tuple(lines) for name, lines in found["places"].items()}
    own = tuple(outcome for outcome in outcomes if outcome.trial.package == package)
    return Audit(package, tuple(found["versions"].items()), subject, places, own)
