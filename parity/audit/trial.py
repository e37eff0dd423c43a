"""One candidate of an audit, and all that an audit of a package needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from parity.fault import ALL, BUT, OPTION, Fault, Inputs, Needed, Subject, chosen


@dataclass(frozen=True)
class Trial:
    """One candidate with one kind of inputs.

    Attributes:
        package: the backend's name.
        mended: the faults, as the option ``patch`` takes them; empty as installed.
        fault: the one that is measured here, all others mended; None where all that are not mended are.
        alike: variants of the reference by which those faults are mended, each in every place: it is wrong as the
            package is; None where the package itself is mended.
    """

    package: str
    inputs: Inputs
    mended: str = ""
    fault: Fault | None = None
    alike: tuple[str, ...] | None = None

    @property
    def candidate(self) -> str:
        """The backend with its options, as users write it."""
        return f"{self.package}@{OPTION}={self.mended}" if self.mended and self.alike is None else self.package


def trials(package: str, subject: Subject, scenarios: Collection[str], only: Collection[Fault]) -> Iterator[Trial]:
    """Every run that an audit needs, with what the reference is varied by where that mends a fault.

    Args: as of `_trials`.
    """
    for trial in _trials(package, subject, scenarios, only):
        if not subject.copied:
            yield trial
            continue
        mended = chosen(package, subject.faults, trial.mended)
        alike = dict.fromkeys(name for fault in mended for name in fault.alike(trial.inputs))
        yield replace(trial, alike=tuple(alike))


def _trials(package: str, subject: Subject, scenarios: Collection[str], only: Collection[Fault]) -> Iterator[Trial]:
    """Every run that an audit needs.

    Args:
        package: the backend's name.
        subject: what it declares.
        scenarios: names of those that are run, with media or without.
        only: the faults that are measured alone.
    """
    installed, comparable = subject.needed(Needed.LOAD), subject.needed(Needed.LOAD, Needed.COMPARE)
    declared = [inputs for inputs in subject.media if inputs.scenario in scenarios]
    for inputs in (*map(Inputs, scenarios), *declared):
        for mended in dict.fromkeys((installed, *((comparable,) if inputs.media else ()), ALL)):
            yield Trial(package, inputs, mended)
    shown = [(fault, fault.inputs) for fault in only if fault.inputs and fault.inputs.scenario in scenarios]
    for inputs in dict.fromkeys(inputs for _, inputs in shown if inputs.media and inputs not in declared):
        yield Trial(package, inputs, ALL)
    for fault, inputs in shown:
        yield Trial(package, inputs, f"{BUT}{fault.name}", fault)
