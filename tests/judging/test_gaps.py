"""Known bugs in our own models, some of whose taps are silent: each is found at the first step of it that is seen."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import pytest

pytest.importorskip("torch")

from parity.discovery import find
from parity.errors import ExitCode
from parity.judging.judge import judge
from parity.judging.judgement import Judgement
from parity.traces.runs import Runs
from parity.traces.scale import family
from parity.traces.sketch import relative_error
from parity.traces.statistics import Statistics
from parity.weave import weave
from reference.gemma3n.variants import catalogue
from tests.diagnosis.test_planted import BUGS, MORE, SHORT, Bug
from tests.gaps import FUSED, LAYERS, SCATTERS, Gapped, layer_of, scattered

ALL = (*BUGS, *MORE)
OWN = tuple(sorted({family(catalogue().get(bug.variant).at().first) for bug in ALL} - {"text.logits"}))
"""The steps of all these bugs, in every layer: a gap that hides each bug where it is."""
SOME = (ALL[1], ALL[8], ALL[20])
"""What the usual run looks at: of these too, a step is missing in one of the places of each."""

ABSORBED = {"altup-unembed-summed"}
"""A factor on the final norm's input, which that takes away: where the input is missing, nothing that is seen errs."""
ROUNDINGS = 2.0**-20
"""16 unit roundoffs of float32: a norm takes a factor from its input; what is left are the epsilon and roundings."""


class Found(NamedTuple):
    """What a candidate's run in lockstep shows: the judge's verdict, and of each step that it emits what is kept."""

    judgement: Judgement
    emitted: dict[str, Statistics]

    @property
    def introduced(self) -> list[str]:
        """Steps, in execution order."""
        return [step.step for step in self.judgement.introduced]

    def changed(self, right: Found) -> set[str]:
        """Steps that are not as in another run of the model, by more than roundings."""
        return {step for step, values in self.emitted.items() if _distance(values, right.emitted[step]) > ROUNDINGS}


def _distance(values: Statistics, right: Statistics) -> float:
    return relative_error(oracle_sketch=right.sketch, candidate_sketch=values.sketch, oracle_norm=right.norm)


class Pair(NamedTuple):
    """A fault and the gap beside it.

    Attributes:
        step: where the bug is.
        seen: whether that is emitted.
        expected: the first step from there on that is emitted, and that the bug makes wrong.
        found: the first step from there on that the judge names; empty for none.
    """

    bug: Bug
    step: str
    seen: bool
    expected: str
    found: str

    @property
    def right(self) -> bool:
        """Whether it is found at the step itself where that is emitted, else at the first behind it, in that layer."""
        if self.bug.variant in ABSORBED and not self.seen:
            return not self.found and not self.expected
        where = self.step if self.seen else self.expected
        same_layer = layer_of(self.found) == layer_of(self.step) or not layer_of(self.step)
        return bool(self.found) and self.found == self.expected == where and same_layer


@pytest.fixture(scope="module")
def gaps(harness):
    """All scatters."""
    return [scattered(harness.oracle_trace(SHORT).contract, number) for number in range(SCATTERS)]


@pytest.fixture(scope="module")
def found_of(harness):
    """Runs one of our models under a gap, with a bug or without; of each gap the baseline runs once."""
    oracle, measured = harness.oracle_trace(SHORT), harness.measured("float32", SHORT)

    @functools.cache
    def loaded(backend):
        return find(backend).load(harness.checkpoint, "float32")

    @functools.cache
    def run(backend, gap, bug=None):
        candidate = Gapped(loaded(backend), *gap, hidden=gap == FUSED)
        with weave((), print, [bug.edit] if bug else []):
            lockstep = harness.trace(candidate, "float32", oracle=oracle.path, mode="lockstep")
        runs = Runs(None, lockstep)
        judgement = judge(oracle=oracle, baseline=measured.runs(runs), candidate=runs)
        return Found(judgement, {key.step: lockstep.statistics(key) for key in lockstep.records})

    return run


@pytest.fixture(scope="module")
def pairs_of(found_of, harness):
    """A bug under a gap, in each of its places; the first step that it makes wrong is the first that is named."""
    contract = harness.oracle_trace(SHORT).contract
    at = {step.name: number for number, step in enumerate(contract)}

    def pairs(bug, gap):
        right, wrong = found_of(bug.backend, gap), found_of(bug.backend, gap, bug)
        changed = sorted(wrong.changed(right), key=at.get)
        assert wrong.introduced[:1] == changed[:1], (bug.variant, gap)
        kind = family(catalogue().get(bug.variant).at().first)
        for own in (step for step in at if family(step) == kind):
            expected, found = (
                next((step for step in steps if at[step] >= at[own]), "") for steps in (changed, wrong.introduced)
            )
            yield Pair(bug, own, own in right.emitted, expected, found)

    return pairs


def require_found(pairs: Sequence[Pair]) -> None:
    """All of them, of which there are some."""
    lost = [pair for pair in pairs if not pair.right]
    assert pairs
    assert not lost, f"{len(lost)} of {len(pairs)}: {lost[:5]}"


@pytest.mark.slow
@pytest.mark.parametrize("bug", SOME, ids=lambda bug: bug.variant)
def test_fault_beside_a_gap_is_found(bug, pairs_of, gaps):
    """Some of those below."""
    require_found(list(pairs_of(bug, gaps[0])))


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(SCATTERS))
def test_every_fault_beside_every_gap_is_found(number, pairs_of, gaps):
    """In each layer another step is missing, and each step in one of them."""
    require_found([pair for bug in ALL for pair in pairs_of(bug, gaps[number])])


@pytest.mark.exhaustive
def test_every_fault_in_a_fused_layer_is_found_at_its_end(pairs_of):
    """Of the faults outside, at the step itself."""
    pairs = [pair for bug in ALL for pair in pairs_of(bug, FUSED)]
    require_found(pairs)
    assert all(pair.found == f"{LAYERS}{layer_of(pair.step)}.out" for pair in pairs if layer_of(pair.step))


@pytest.mark.exhaustive
def test_every_fault_whose_step_is_missing_is_found_behind_it(pairs_of):
    """All but those of the logits, without which no run passes."""
    pairs = [pair for bug in ALL for pair in pairs_of(bug, OWN)]
    require_found(pairs)
    assert all(pair.seen == (pair.step == "text.logits") for pair in pairs)


@pytest.mark.exhaustive
@pytest.mark.parametrize("backend", ["ane", "mlx"])
def test_right_models_with_gaps_are_at_parity(backend, found_of, gaps):
    """A gap that is declared is no fault, one that is not makes the run incomplete; neither accuses a step."""
    for gap in (*gaps, FUSED, OWN):
        judgement = found_of(backend, gap).judgement
        assert judgement.first_divergence is None
        assert judgement.exit_code is (ExitCode.PARITY if gap == FUSED else ExitCode.INCOMPLETE)


@pytest.mark.parametrize(
    ("seen", "expected", "found"),
    [
        (True, "text.layers.3.attn.context", "text.layers.3.attn.o_proj"),
        (False, "text.layers.3.attn.o_proj", "text.layers.3.attn_gated"),
        (False, "text.layers.4.attn.o_proj", "text.layers.4.attn.o_proj"),
        (False, "", ""),
    ],
)
def test_a_fault_that_is_found_elsewhere_is_lost(seen, expected, found):
    """Behind its own step, behind the first that shows it, in another layer, or nowhere."""
    assert not Pair(ALL[20], "text.layers.3.attn.context", seen, expected, found).right


def test_every_step_is_missing_in_one_of_them(gaps, harness):
    """All but the logits, without which no run passes."""
    contract = harness.oracle_trace(SHORT).contract
    kinds = {family(step.name) for step in contract if step.name != contract.logits}
    assert kinds == {family(step) for gap in gaps for step in gap}
