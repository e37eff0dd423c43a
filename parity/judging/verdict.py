"""What the judge says of one step, and of one token."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from parity.axes import Look, Where
from parity.traces.trace import Key


class Status(StrEnum):
    """Verdict on a step; see `MEANING`."""

    OK = "ok"
    COARSE = "coarse"
    INHERITED = "inherited"
    INTRODUCED = "introduced"
    NONFINITE = "nonfinite"
    CONTRACT = "contract"
    UNCOVERED = "uncovered"
    UNEXPECTED = "unexpected"
    HIDDEN = "hidden"

    @property
    def diverged(self) -> bool:
        """Whether the step's value is wrong."""
        return self in (Status.INHERITED, Status.INTRODUCED, Status.NONFINITE, Status.CONTRACT)

    @property
    def origin(self) -> bool:
        """Whether the fault is the step's own, not passed on."""
        return self in (Status.INTRODUCED, Status.NONFINITE, Status.CONTRACT)

    @property
    def incomplete(self) -> bool:
        """Whether the step was not compared, and ought to have been."""
        return self in (Status.UNCOVERED, Status.UNEXPECTED)

    @property
    def compared(self) -> bool:
        """Whether there is something to show of the step: it was held against the oracle's."""
        return not self.incomplete and self is not Status.HIDDEN


MEANING = {
    Status.OK: "within K floors in the free run and in lockstep",
    Status.COARSE: "beyond K floors, but no more than adding one term after the other costs in this arithmetic",
    Status.INHERITED: "passes on an earlier error: beyond K floors in the free run only, or of another shape for it; "
    "without a lockstep run it may err by itself",
    Status.INTRODUCED: "beyond K floors from exact inputs (or below, and proven by many values): the step itself errs",
    Status.NONFINITE: "NaN or infinity where the oracle has none, or none where it has",
    Status.CONTRACT: "wrong shape, axes or kind",
    Status.UNCOVERED: "in the contract, not emitted by the candidate",
    Status.UNEXPECTED: "emitted by the candidate, not in the contract (or emitted twice)",
    Status.HIDDEN: "not observable, as the candidate declares with a reason; not compared",
}


DECIDES = 1.01
"""A place sets the ratio where its own exceeds the tensor's by more than rounding."""


@dataclass(frozen=True)
class Worst:
    """The worst place, part or channel of a step in one kind of run.

    Attributes:
        look: which of these it is.
        where: names of axes, with an index along each.
        error: relative L2 there.
        floor: what that is held to.
        ratio: how many floors that is.
    """

    look: Look
    where: Where
    error: float
    floor: float
    ratio: float


@dataclass(frozen=True)
class Deviation:
    """Error of a step in one kind of run, against the floor of that run.

    Attributes:
        error: relative L2 of the tensor.
        floor: what it is held to: the baseline's (see `parity.judging.floors`), at least the dtype's unit roundoff; in
            the free run as many times that as the candidate's steps so far err from exact inputs.
        ratio: the largest of the tensor's and of each of the worst's errors over their floors. At most K is within.
        worst: place, part and channel, as far as they were looked at, the one that is most floors off first.
    """

    error: float
    floor: float
    ratio: float
    worst: tuple[Worst, ...] = ()

    @property
    def decides(self) -> Worst | None:
        """What the ratio is of; None for the whole tensor, and where that is off by as much, but for rounding."""
        first = self.worst[0] if self.worst else None
        if first is None or not math.isfinite(first.ratio):
            return None
        return first if first.ratio * self.floor > DECIDES * self.error else None

    def hides(self, allowed: float) -> float:
        """The largest fault, as `error` counts it, that an ok step may have; see `parity.variants.sensitivity`."""
        return allowed * self.floor


@dataclass(frozen=True)
class StepVerdict:
    """The judge's word on one step of one phase. `free` or `lockstep` is None where that run has no such record."""

    phase: str
    step: str
    occurrence: int
    status: Status
    free: Deviation | None = None
    lockstep: Deviation | None = None
    note: str = ""

    @property
    def key(self) -> Key:
        """The key of its records in the traces."""
        return Key(self.phase, self.step, self.occurrence)

    def hides(self, allowed: float) -> float | None:
        """The largest fault of its own that may be in the step if it is ok; None where nothing was measured."""
        own = self.lockstep or self.free
        return None if own is None else own.hides(allowed)

    @property
    def ratio(self) -> float:
        """The worse of the two runs' ratios; NaN where nothing was measured."""
        ratios = [deviation.ratio for deviation in (self.free, self.lockstep) if deviation is not None]
        return max(ratios, default=float("nan"))


@dataclass(frozen=True)
class TokenVerdict:
    """Greedy choice at one position.

    Attributes:
        margin: the oracle's lead of its first over its second choice, in logits.
        noise: the largest margin that correct arithmetic can overturn here.
    """

    phase: str
    row: int
    token: int
    oracle: int
    candidate: int
    margin: float
    noise: float

    @property
    def same(self) -> bool:
        """Whether both chose the same id."""
        return self.oracle == self.candidate

    @property
    def near_tie(self) -> bool:
        """Whether the choice differs within the measured noise."""
        return not self.same and self.margin <= self.noise

    @property
    def diverged(self) -> bool:
        """Whether the choice differs beyond the noise."""
        return not self.same and self.margin > self.noise
