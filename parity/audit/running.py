"""An audit of several packages in several arithmetics."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from parity.audit.auditor import Auditor
from parity.audit.outcome import Outcome
from parity.audit.result import Audit, Audits
from parity.audit.trial import Trial, trials
from parity.checkpoint import Checkpoint
from parity.discovery import find
from parity.errors import UsageError
from parity.fault import Subject
from parity.running.party import Party
from parity.running.plan import require_dtypes
from parity.running.progress import Progress
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
    """

    packages: tuple[str, ...]
    checkpoint: Checkpoint
    dtypes: tuple[str, ...]
    scenarios: tuple[str, ...]
    only: str = EVERY


def audit(request: AuditRequest, catalogue: Catalogue, progress: Progress) -> Audits:
    """Run every package, as it is installed and mended, and measure each of its faults.

    Raises:
        BackendUnavailable: when a package is not installed, or the reference itself fails.
        UsageError: for a backend that declares nothing to audit or lacks an arithmetic, or faults that do not show.
    """
    began = time.monotonic()
    require_dtypes(request.packages, request.dtypes)
    subjects = {package: find(package).subject() for package in request.packages}
    planned = _planned(request, subjects)
    found = {package: _places(package, progress) for package in subjects}
    outcomes: list[Outcome] = []
    for dtype in request.dtypes:
        first = dtype == request.dtypes[0]
        with Auditor(catalogue, request.checkpoint, dtype, progress, diagnosed=first) as auditor:
            outcomes += auditor.outcomes(planned)
    return Audits(
        tuple(_audit(package, subject, found[package], outcomes) for package, subject in subjects.items()),
        model=request.checkpoint.name,
        prompt=catalogue.prompt,
        reference=catalogue.reference,
        samples=catalogue.samples.name,
        seconds=time.monotonic() - began,
        machine=_machine(),
    )


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
