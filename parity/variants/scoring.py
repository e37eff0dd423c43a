"""How well the harness finds known bugs: what became of each variant, and the promises that all together keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from parity.errors import ExitCode
from parity.judging.judgement import Judgement
from parity.judging.verdict import Status
from parity.variant import Variant

FLOAT32 = "float32"
STEPS = 3
"""So many steps at most may be flagged in lockstep, in `FEW` of all variants."""
AT_HOME, FEW = 0.99, 0.95
FOUND = 0.8
"""The share of variants that must be found where the arithmetic is coarse."""
NAMED, NAMED_COARSELY = 0.95, 0.75
"""The share whose cause must be named; and where the arithmetic is coarse."""


@dataclass(frozen=True)
class Score:
    """What became of one variant.

    Attributes:
        variant: with its layer.
        dtype: the arithmetic that it ran in.
        flagged: whether it was found to diverge at all.
        first: the first divergence, the step; empty for none.
        status: of that step; empty for none.
        steps: how many steps (a step counts once, in however many phases) are flagged in lockstep.
        named: the known bug, or generic cause, that the first divergence is said to be; empty for none.
        alike: what would look the same.
        instead: the known bug that is named where this one is not in the catalogue; empty for none, as it should be.
        sigmas: of a bug below the noise, how many standard deviations it is from none.
        ratio: at its own step in lockstep, in floors, the largest of all phases; NaN where that was not measured.
        crash: why it could not be judged, or not whole; empty where it was.
    """

    variant: Variant
    dtype: str
    flagged: bool
    first: str = ""
    status: str = ""
    steps: int = 0
    named: str = ""
    alike: tuple[str, ...] = ()
    instead: str = ""
    sigmas: float = 0.0
    ratio: float = float("nan")
    crash: str = ""

    @classmethod
    def of(cls, variant: Variant, judgement: Judgement) -> Score:
        """Read the judgement on a variant."""
        first = judgement.first_divergence
        said = judgement.diagnosis(first.step) if first else None
        cause = said.causes[0] if said and said.causes else None
        return cls(
            variant=variant,
            dtype=judgement.dtype,
            flagged=judgement.exit_code is ExitCode.DIVERGED,
            first=first.step if first else "",
            status=str(first.status) if first else "",
            steps=len({step.step for step in judgement.introduced}),
            named=cause.name if cause else "",
            alike=cause.alike if cause else (),
            sigmas=said.sigmas if said else 0.0,
            ratio=_ratio(variant, judgement),
            crash=_gap(judgement),
        )

    @property
    def expected(self) -> bool:
        """Whether it is a bug that shows in this arithmetic."""
        return self.variant.shows_in(self.dtype)

    @property
    def right(self) -> bool:
        """Whether it is named, or something that would look the same."""
        return self.variant.name in (self.named, *self.alike)

    @property
    def at_home(self) -> bool:
        """Whether the first divergence is its own step, and a fault of that step itself."""
        return self.first == self.variant.first and self.status != Status.INHERITED


def _gap(judgement: Judgement) -> str:
    """A variant whose edit hides a step, or says one twice, is badly written."""
    return next((f"{step.step} is {step.status}: {step.note}" for step in judgement.missing), "")


def _ratio(variant: Variant, judgement: Judgement) -> float:
    own = [step.lockstep.ratio for step in judgement.steps if step.step == variant.first and step.lockstep]
    return max(own, default=float("nan"))


@dataclass(frozen=True)
class Totals:
    """The scores of many variants in one arithmetic."""

    scores: tuple[Score, ...]
    dtype: str

    @cached_property
    def bugs(self) -> tuple[Score, ...]:
        """Variants that must be found."""
        return tuple(score for score in self.scores if score.expected)

    @cached_property
    def harmless(self) -> tuple[Score, ...]:
        """Variants that are the same by algebra and must not be flagged."""
        return tuple(score for score in self.scores if score.variant.equivalent)

    @property
    def missed(self) -> tuple[Score, ...]:
        """Bugs that were not flagged."""
        return tuple(score for score in self.bugs if not score.flagged)

    @property
    def elsewhere(self) -> tuple[Score, ...]:
        """Bugs that were found, but first at another step than their own."""
        return tuple(score for score in self.bugs if score.flagged and not score.at_home)

    @property
    def many(self) -> tuple[Score, ...]:
        """Bugs that flag more than `STEPS` steps in lockstep."""
        return tuple(score for score in self.bugs if score.steps > STEPS)

    @property
    def false(self) -> tuple[Score, ...]:
        """Harmless ones that were flagged."""
        return tuple(score for score in self.harmless if score.flagged)

    @property
    def unnamed(self) -> tuple[Score, ...]:
        """Bugs that are not named, or as another."""
        return tuple(score for score in self.bugs if not score.right)

    @property
    def mistaken(self) -> tuple[Score, ...]:
        """Variants for which another is named where they are not in the catalogue, or which are named and no bugs."""
        return tuple(score for score in self.scores if score.instead or (score.named and not score.expected))

    @property
    def crashed(self) -> tuple[Score, ...]:
        """Variants that could not be judged."""
        return tuple(score for score in self.scores if score.crash)

    def broken(self) -> Iterator[str]:
        """The promises that are not kept, each in a sentence."""
        if self.crashed:
            yield f"{len(self.crashed)} could not be judged: {_names(self.crashed)}"
        if self.false:
            yield f"{len(self.false)} equivalent variants are flagged: {_names(self.false)}"
        if self.mistaken:
            yield f"for {len(self.mistaken)} another bug is named with confidence: {_names(self.mistaken)}"
        fine = self.dtype == FLOAT32
        if len(self.unnamed) > (1 - (NAMED if fine else NAMED_COARSELY)) * len(self.bugs):
            yield f"the causes of {len(self.unnamed)} of {len(self.bugs)} are not named: {_names(self.unnamed)}"
        yield from self._strict() if fine else self._coarse()

    def _strict(self) -> Iterator[str]:
        if self.missed:
            yield f"{len(self.missed)} bugs are not flagged: {_names(self.missed)}"
        if len(self.elsewhere) + len(self.missed) > (1 - AT_HOME) * len(self.bugs):
            yield f"{len(self.elsewhere)} bugs are found first at another step than their own: {_names(self.elsewhere)}"
        if len(self.many) > (1 - FEW) * len(self.bugs):
            yield f"{len(self.many)} bugs flag more than {STEPS} steps in lockstep: {_names(self.many)}"

    def _coarse(self) -> Iterator[str]:
        if len(self.missed) > (1 - FOUND) * len(self.bugs):
            yield f"{len(self.missed)} of {len(self.bugs)} bugs stay below the noise: {_names(self.missed)}"

    @property
    def exit_code(self) -> ExitCode:
        """1 where a promise is broken."""
        return ExitCode.DIVERGED if any(self.broken()) else ExitCode.PARITY


def _names(scores: Sequence[Score]) -> str:
    return ", ".join(score.variant.name for score in scores)
