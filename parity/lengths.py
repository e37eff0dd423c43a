"""Shapes that follow from an earlier one: an id too many makes everything behind it longer by one, caches too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from parity.trace import Key, Trace
from parity.verdict import Status, StepVerdict


class Lengths:
    """What became of the lengths of axes so far; to be asked step after step.

    Args:
        oracle: its run.
        runs: the candidate's.
    """

    def __init__(self, oracle: Trace, runs: Sequence[Trace]) -> None:
        self._oracle, self._runs = oracle, runs
        self._longer: set[int] = set()
        self._phase = ""

    def attributed(self, verdict: StepVerdict) -> StepVerdict:
        """The verdict; inherited where the step's shape, or the cache behind it, follows from an earlier step's."""
        if not verdict.status.origin:
            return verdict
        if self._phase not in ("", verdict.phase):
            return replace(verdict, status=Status.INHERITED)
        longer = self._differences(verdict.key) if verdict.status is Status.CONTRACT else {}
        follows = bool(longer) and self._longer.issuperset(longer.values())
        self._longer |= set(longer.values())
        if longer.keys() & set(self._oracle.contract.axes.sequence):  # leaves another cache to the next phase
            self._phase = verdict.phase
        return replace(verdict, status=Status.INHERITED) if follows else verdict

    def _differences(self, key: Key) -> dict[str, int]:
        """By how much axes are longer than the oracle's; empty where there are more or fewer axes."""
        true = self._oracle.records[key]
        shapes = [run.records[key].shape for run in self._runs if len(run.records[key].shape) == len(true.shape)]
        axes = (zip(true.axes, shape, true.shape, strict=True) for shape in shapes)
        return {axis: made - wanted for each in axes for axis, made, wanted in each if made != wanted}
