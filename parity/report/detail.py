"""What a report knows of one step beyond its verdict: taken from the traces while they exist, kept small.

A comparison's traces are hundreds of megabytes and usually in a temporary folder. So for the few steps that have a
page of their own, everything that the page shows is reduced here to a few thousand numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from parity.cost.result import Cost
from parity.judging.judgement import Comparison
from parity.scenario import Scenario
from parity.traces.description import Description
from parity.traces.trace import Mode

PartyRole = Literal["reference", "baseline", "candidate"]


@dataclass(frozen=True)
class Heading:
    """What a column is of.

    Attributes:
        role: who it is.
        mode: of its run; the reference has only one.
        dtype: of the tensor.
    """

    role: PartyRole
    mode: Mode
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Column(Description, Heading):
    """One party's statistics of the step, as its trace records them; in ``report.json`` behind the heading.

    Attributes:
        error: relative L2 against the reference; None for the reference itself.
    """

    error: float | None = None


@dataclass(frozen=True)
class Heat:
    """A map of the error, in floors of its step.

    Attributes:
        title: what is shown.
        across: what the columns are: ``layer`` or ``channel``.
        rows: labels of the tokens.
        columns: labels of the layers, or of channels; ranges where several are one column.
        values: by row and column; NaN where nothing was computed.
        grouped: whether a row or column stands for several, of which it shows the root mean square.
    """

    title: str
    across: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    grouped: bool = False


@dataclass(frozen=True)
class Histogram:
    """Counts of the elements of several parties over the same bins.

    Attributes:
        title: what is counted.
        edges: of the bins, one more than there are bins; decimal exponents where `exponents` is true.
        names: whose counts.
        counts: by party and bin.
    """

    title: str
    edges: tuple[float, ...]
    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    exponents: bool = False


@dataclass(frozen=True)
class Element:
    """One of the elements that are furthest off; `index` is in the order of the step's axes."""

    index: tuple[int, ...]
    token: str
    reference: float
    baseline: float | None
    candidate: float


@dataclass(frozen=True)
class Detail:
    """One step of one judgement.

    Attributes:
        mode: the run that channel map, histograms and elements are of: lockstep where there is one.
        layers: token by layer, of the same step in all layers, per run.
        channels: token by channel; None where tensors were not kept, as for all below.
    """

    candidate: str
    dtype: str
    scenario: str
    phase: str
    step: str
    occurrence: int
    axes: tuple[str, ...]
    mode: Mode
    columns: tuple[Column, ...]
    layers: tuple[Heat, ...] = ()
    channels: Heat | None = None
    values: Histogram | None = None
    errors: Histogram | None = None
    worst: tuple[Element, ...] = ()

    @property
    def of(self) -> tuple[str, str, str, str, str, int]:
        """Which step of which judgement this is."""
        return self.candidate, self.dtype, self.scenario, self.phase, self.step, self.occurrence


@dataclass(frozen=True)
class Report:
    """A comparison with what only the traces know.

    Attributes:
        scenarios: what was run, by name.
        pieces: text of token ids, as far as the tokenizer's file was at hand.
        costs: what the numbers of candidates with weights of their own cost against the checkpoint's.
    """

    comparison: Comparison
    scenarios: tuple[Scenario, ...] = ()
    details: tuple[Detail, ...] = ()
    pieces: Mapping[int, str] = field(default_factory=dict)
    costs: tuple[Cost, ...] = ()
