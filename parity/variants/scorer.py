"""Judges the variants of one case, and names what is wrong with them as if nobody knew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from parity.diagnosis.naming import Namer
from parity.diagnosis.together import Plant, Remembered
from parity.errors import ExitCode
from parity.judging.baseline import Baseline, judged
from parity.judging.judgement import Judgement
from parity.traces.measure import Error, error_of
from parity.traces.runs import Runs
from parity.traces.trace import Key, Mode, Trace
from parity.variant import Catalogue, Variant
from parity.variants.scoring import Score

RunIn = Callable[[Mode], Trace]


class Scorer:
    """The variants of a case differ from the baseline in a few steps alone, which makes judging them quick.

    Args:
        oracle: its run.
        baseline: the reference in the variants' arithmetic.
        catalogue: what is known when a cause is looked for.
        plant: runs the oracle with known bugs.
        coarse: runs the baseline with known bugs.
    """

    def __init__(
        self,
        oracle: Trace,
        baseline: Baseline,
        catalogue: Catalogue,
        plant: Plant | Remembered,
        coarse: Plant | Remembered | None = None,
    ) -> None:
        self.oracle = oracle
        self._baseline, self._runs = baseline, baseline.runs()
        self._same = {run.manifest.mode: run for run in self._runs.present}
        self._catalogue, self._plant, self._coarse = catalogue, plant, coarse
        self._errors: dict[tuple[Mode, Key], Error] = {}

    def score(self, variant: Variant, run: RunIn) -> Score:
        """Run a variant in lockstep, which shows any fault of a step's own; freely too where that shows none.

        What it is, is said twice: with all that is known, and without this variant, where nothing should be named.
        """
        candidate = Runs(free=None, lockstep=run("lockstep"))
        judgement = self.judgement(candidate)
        if judgement.exit_code is not ExitCode.DIVERGED:
            candidate = replace(candidate, free=run("free"))
            judgement = self.judgement(candidate)
        score = Score.of(variant, self._named(judgement, candidate, self._catalogue))
        if not score.right:
            return score
        same = {variant.name, score.named, *score.alike}
        others = tuple(other for other in self._catalogue.variants if other.name not in same)
        without = self._named(judgement, candidate, replace(self._catalogue, variants=others))
        return replace(score, instead=_known(Score.of(variant, without), others))

    def judgement(self, candidate: Runs) -> Judgement:
        """The judge's word on a candidate's steps; greedy choices, which most variants change, are left out."""
        judgement, _ = judged(oracle=self.oracle, baseline=self._baseline, candidate=candidate, measure=self._measured)
        return replace(judgement, tokens=())

    def _named(self, judgement: Judgement, candidate: Runs, catalogue: Catalogue) -> Judgement:
        namer = Namer(catalogue, self._plant, coarse=self._coarse)
        return namer.named(judgement, oracle=self.oracle, baseline=self._runs, candidate=candidate)

    def _measured(self, key: Key, *, oracle: Trace, candidate: Trace) -> Error:
        """A step's error; where the candidate equals the baseline to the bit, the baseline's."""
        mode = candidate.manifest.mode
        other = self._same[mode]
        if not candidate.same(key, other):
            return error_of(key, oracle=oracle, candidate=candidate)
        if (mode, key) not in self._errors:
            self._errors[mode, key] = error_of(key, oracle=oracle, candidate=other)
        return self._errors[mode, key]


def _known(score: Score, variants: tuple[Variant, ...]) -> str:
    """The known bug that a score names; empty for a generic cause, which may well be what an unknown bug comes to."""
    return score.named if score.named in {variant.name for variant in variants} else ""
