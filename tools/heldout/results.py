"""What became of drawn faults, as lines of a file that grows while they are judged: one an architecture."""

from __future__ import annotations

from collections.abc import Mapping

from parity.results_file import ResultsFile, ResultsLine
from parity.survey.result import SurveyedRun

FORMAT = "parity-heldout"
VERSION = 1
STEP, INTERVAL, MISSING = "step", "interval", "missing"
LATE, EARLY, NONE, CRASH = "late", "early", "nothing", "no verdict"
"""Where a verdict says that a fault is: at its own step; between the last right step and the first wrong one; its step
is called missing; behind it, before it; nowhere; and where there is no verdict."""
NAMED = (STEP, INTERVAL, MISSING)
"""Where a reader finds it in what the verdict names."""


class HeldoutHead(ResultsLine):
    """What the results of a file are of.

    Attributes:
        versions: of the packages, by name.
        scenario: in which faults are judged.
        faults: of each architecture.
    """

    format: str = FORMAT
    version: int = VERSION
    versions: dict[str, str]
    scenario: str
    faults: int


class Placed(ResultsLine):
    """What a verdict says of one fault.

    Attributes:
        where: `STEP`, `INTERVAL`, `MISSING`, `LATE`, `EARLY`, `NONE` or `CRASH`.
        step, phase: the first divergence; empty for none.
        before: the last right step before it.
        ratio: its error in floors.
        why: in words, where there is no divergence.
        rows, bridged: of the table that it is judged by, and those that were paired past the fault.
    """

    where: str
    step: str = ""
    phase: str = ""
    before: str = ""
    ratio: float = 0.0
    why: str = ""
    rows: int = 0
    bridged: int = 0


class HeldoutFault(ResultsLine):
    """A fault, where it is, and where the verdicts say that it is.

    Attributes:
        rule: that it was drawn by.
        function, line: of the statement, in the installed source.
        old, new: the statement.
        step, phase: the first step that it changes.
        place: of the port, where it computes that.
        behind: whether that place stands at the line or behind it; None where it is in another function.
        change, logits: by how much the step and the logits are another, relative L2.
        by_clean: the verdict by the table of the clean port.
        by_own: the verdict by the table that was learned of the faulty port; None where it was not run.
    """

    rule: str
    function: str
    line: int
    old: str
    new: str
    step: str
    phase: str
    place: str
    behind: bool | None
    change: float
    logits: float
    by_clean: Placed
    by_own: Placed | None = None


class Redrawn(ResultsLine):
    """A change that is no fault.

    Attributes:
        rule, function, new: what was drawn.
        why: it crashes, or changes nothing.
    """

    rule: str
    function: str
    new: str
    why: str


class HeldoutModel(ResultsLine):
    """One architecture.

    Attributes:
        model: its type.
        kind: what it has besides, e.g. a mixture of experts.
        rows: of the clean port's table.
        places: changes that the rules give.
        faults: those that were drawn and are faults, in the order of the draw.
        redrawn: those that are none.
        clean: runs of the port as it is.
        failure: why it was not judged.
        seconds: that all of it took.
    """

    model: str
    kind: str = ""
    rows: int = 0
    places: int = 0
    faults: tuple[HeldoutFault, ...] = ()
    redrawn: tuple[Redrawn, ...] = ()
    clean: tuple[SurveyedRun, ...] = ()
    failure: str = ""
    seconds: float = 0.0


class HeldoutResults(ResultsFile[HeldoutHead, HeldoutModel]):
    """The results of all architectures."""

    what, heads, lines = "held-out faults", HeldoutHead, HeldoutModel

    @property
    def by_model(self) -> Mapping[str, HeldoutModel]:
        """The results by type of model."""
        return {one.model: one for one in self.found}
