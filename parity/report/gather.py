"""Collects what a report shows of single steps, from the traces of a judgement, before they are gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from parity.cost.result import Cost
from parity.judging.judgement import Comparison, Judgement
from parity.report.chosen import MOST_PAGES, chosen
from parity.report.detail import Detail, Report
from parity.report.examine import Examined, examine
from parity.report.layers import LayerMaps
from parity.scenario import Scenario
from parity.traces.runs import Runs
from parity.traces.trace import Trace


class Gatherer:
    """Looks at each judgement of a comparison as it is made.

    Args:
        vocabulary: text of token ids; read when first needed, for it is a large file.

    Attributes:
        costs: what numbers of candidates cost, as far as it was told.
    """

    def __init__(self, vocabulary: Callable[[], Mapping[int, str]] = dict) -> None:
        self._vocabulary = vocabulary
        self._pieces: Mapping[int, str] | None = None
        self._scenarios: dict[str, Scenario] = {}
        self._details: list[Detail] = []
        self.costs: list[Cost] = []

    def look(self, judgement: Judgement, *, oracle: Trace, baseline: Runs | None, candidate: Runs) -> None:
        """Take what the pages of a judgement's steps will show."""
        self._scenarios[judgement.scenario] = oracle.scenario
        if self._pieces is None:
            self._pieces = self._vocabulary()
        evidence = Examined(judgement, oracle, baseline, candidate, self._pieces)
        maps = LayerMaps(evidence)
        for step in chosen(judgement, left=MOST_PAGES - len(self._details)):
            if step.status.compared:
                self._details.append(examine(step, evidence, maps))

    def price(self, cost: Cost) -> None:
        """Take what a candidate's numbers cost."""
        self.costs.append(cost)

    def report(self, comparison: Comparison) -> Report:
        """The comparison with everything that was taken."""
        scenarios = tuple(self._scenarios.values())
        pieces = {number: self._piece(number) for number in sorted(_ids(comparison, scenarios))}
        known = {number: piece for number, piece in pieces.items() if piece is not None}
        return Report(comparison, scenarios, tuple(self._details), known, tuple(self.costs))

    def _piece(self, number: int) -> str | None:
        return (self._pieces or {}).get(number)


def _ids(comparison: Comparison, scenarios: tuple[Scenario, ...]) -> set[int]:
    """Token ids that the report names."""
    said = {token for one in scenarios for chunk in one.chunks for row in chunk.tokens or () for token in row}
    tokens = [token for judgement in comparison.judgements for token in judgement.tokens]
    return said | {token.oracle for token in tokens} | {token.candidate for token in tokens}
