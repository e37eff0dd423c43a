"""What is measured of a conversion: one comparison, the cost over many prompts, and what its programs consist of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from implementations.ane.engine.limits import LIMIT
from implementations.ane.scaling import carries_alpha
from implementations.coreml.health.engine import Reason, leaving
from implementations.coreml.package.folder import TABLES, Package, size_of
from implementations.coreml.package.program import read_functions
from implementations.coreml.package.settings import Settings
from parity.compare import Request, compare
from parity.cost.measuring import CostRequest, measure
from parity.cost.result import Cost
from parity.judging.judgement import Judgement
from parity.running.progress import Progress
from parity.traces.runs import Runs
from parity.traces.trace import Record, Trace

HOST = "host"
"""What is computed around the packages: embeddings, angles, masks. Its tables are a file of the folder."""


@dataclass(frozen=True)
class Worst:
    """The largest of some numbers, and the step that has it; an empty step for none."""

    value: float = -math.inf
    step: str = ""

    def or_more(self, value: float, step: str) -> Worst:
        """The larger of the two."""
        return Worst(value, step) if value > self.value else self


@dataclass(frozen=True)
class PartHealth:
    """One package; or the host, which has no functions.

    Attributes:
        name: its name.
        size: bytes; of the host its tables.
        functions: names, and how many operations each has.
        kinds: of operations, in all functions together.
        leaving: kinds that are known to leave the engine, how many, and why.
        floors: largest error of a step, in floors.
        peak: largest magnitude of a step, as the package computes it.
    """

    name: str
    size: int
    functions: Mapping[str, int]
    kinds: Counter[str]
    leaving: Sequence[tuple[str, int, Reason]]
    floors: Worst = Worst()
    peak: Worst = Worst()

    @property
    def room(self) -> float:
        """How many times the peak fits below the engine's limit; NaN where nothing of it ran."""
        if not self.peak.step:
            return math.nan
        return LIMIT / self.peak.value if self.peak.value > 0 else math.inf


@dataclass(frozen=True)
class Health:
    """A whole conversion.

    Attributes:
        name: the folder's.
        settings: how it was converted.
        judgement: on the prompt.
        cost: over many prompts.
        parts: in the order in which they run, and the host.
    """

    name: str
    settings: Settings
    judgement: Judgement
    cost: Cost
    parts: tuple[PartHealth, ...]


def look(package: Package, compared: Request, cost: CostRequest, progress: Progress) -> Health:
    """Measure a folder of packages.

    Raises:
        UsageError: for what cannot be run.
        BackendUnavailable: where the reference fails.
    """
    seen = _Seen(package)
    comparison = compare(compared, progress=progress, look=seen)
    (judgement,) = comparison.judgements
    parts = tuple(
        replace(part, floors=seen.floors.get(part.name, Worst()), peak=seen.peaks.get(part.name, Worst()))
        for part in _parts(package)
    )
    return Health(package.folder.name, package.settings, judgement, measure(cost, progress), parts)


@dataclass
class _Seen:
    """Takes of a comparison's traces what is needed of each part."""

    package: Package
    floors: dict[str, Worst] = field(default_factory=dict)
    peaks: dict[str, Worst] = field(default_factory=dict)

    def __call__(self, judgement: Judgement, *, oracle: Trace, baseline: Runs | None, candidate: Runs) -> None:
        owner = {
            step: name
            for name, functions in self.package.steps.items()
            for one in functions.values()
            for step, _ in one
        }
        for verdict in judgement.steps:
            if not math.isnan(verdict.ratio):
                part = owner.get(verdict.step, HOST)
                self.floors[part] = self.floors.get(part, Worst()).or_more(verdict.ratio, verdict.step)
        for record in candidate.free.records.values() if candidate.free else ():
            step = oracle.contract.get(record.step)
            if step is not None and step.kind == "float":
                part = owner.get(record.step, HOST)
                peak = magnitude(record, self.package.settings.alpha)
                self.peaks[part] = self.peaks.get(part, Worst()).or_more(peak, record.step)


def magnitude(record: Record, alpha: float) -> float:
    """The largest of a step as a package with α has it; records are told without."""
    if record.nan_count or record.inf_count:
        return math.inf
    return record.abs_max * alpha if carries_alpha(record.step) else record.abs_max


def _parts(package: Package) -> Iterator[PartHealth]:
    for name in (*package.decoder, *package.others):
        functions = read_functions(package, name)
        kinds = Counter(operation.kind for one in functions.values() for operation in one.operations)
        yield PartHealth(
            name,
            sum(map(size_of, {*package.files(name).values()})),
            {function: len(one.operations) for function, one in functions.items()},
            kinds,
            tuple(leaving([*functions.values()])),
        )
    yield PartHealth(HOST, size_of(package.folder / TABLES), {}, Counter(), ())
