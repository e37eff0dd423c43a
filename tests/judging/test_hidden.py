"""Steps that no tap can see: declared with a reason, counted, and never a way to pass unseen."""

from __future__ import annotations

import pytest

from parity.errors import ExitCode
from parity.judging.judge import judge
from parity.judging.verdict import Status
from parity.report import sentences
from parity.traces.runs import Runs
from tests.toy import Deaf, Toy, runs, write

REASON = "inside a fused kernel"


class Fused(Deaf):
    """Does not speak of one step, and says why."""

    hidden = {"layers.*.mean": REASON}  # noqa: RUF012 - a test's constant


class Mute(Toy):
    """Declares everything hidden, and keeps its logits back."""

    hidden = {"*": REASON}  # noqa: RUF012 - a test's constant

    def forward(self, token_ids, *, prompts=(), tap):
        return super().forward(token_ids, tap=lambda name, value: value if name == "logits" else tap(name, value))


@pytest.fixture
def judged(tmp_path):
    """Judges a toy in float32, given free and lockstep."""
    oracle = write(tmp_path, "oracle", Toy())
    baseline = runs(tmp_path, "baseline", Toy("float32"), oracle)

    def run(free, lockstep=None):
        candidate = runs(tmp_path, "free", free, oracle)
        other = runs(tmp_path, "other", lockstep, oracle) if lockstep else candidate
        return judge(oracle=oracle, baseline=baseline, candidate=Runs(candidate.free, other.lockstep))

    return run


def of(judgement, step):
    """The verdicts on one step, phase after phase."""
    return [verdict for verdict in judgement.steps if verdict.step == step]


def test_declared_step_is_counted_with_its_reason(judged):
    """Neither compared nor dropped: its own status, its reason, its number in the coverage."""
    judgement = judged(Fused("float32"))
    assert [(step.status, step.note) for step in of(judgement, "layers.0.mean")] == [(Status.HIDDEN, REASON)] * 2
    assert judgement.counts[Status.HIDDEN] == 2
    assert judgement.exit_code is ExitCode.PARITY
    assert sentences.verdict(judgement).startswith("parity. 6 of 8 steps covered, 2 not observable, none introduced")


def test_undeclared_step_is_uncovered(judged):
    """Without the declaration the same silence is a gap."""
    judgement = judged(Deaf("float32"))
    assert {step.status for step in of(judgement, "layers.0.mean")} == {Status.UNCOVERED}
    assert judgement.exit_code is ExitCode.INCOMPLETE


def test_declared_step_that_is_emitted_is_judged(judged):
    """A pattern that reaches too far excuses nothing that can be seen."""
    candidate = Toy("float32", {"layers.0.mean": lambda x: x * 2})
    candidate.hidden = {"*": REASON}
    assert judged(candidate).first_divergence.step == "layers.0.mean"


def test_step_of_one_run_alone_is_uncovered(judged):
    """What one of the two runs emits can be observed."""
    judgement = judged(Fused("float32"), Toy("float32"))
    assert {step.status for step in of(judgement, "layers.0.mean")} == {Status.UNCOVERED}


def test_logits_cannot_be_hidden(judged):
    """Whatever a backend declares, it does not pass without its logits."""
    judgement = judged(Mute("float32"))
    assert {step.status for step in of(judgement, "logits")} == {Status.UNCOVERED}
    assert judgement.exit_code is ExitCode.INCOMPLETE


def test_divergence_behind_a_hidden_step_is_found(judged):
    """A hidden step's fault shows at the first step that can be seen behind it."""
    judgement = judged(Fused("float32", {"layers.0.mean": lambda x: x + 1}))
    assert judgement.first_divergence.step == "logits"
    assert judgement.first_divergence.status is Status.INTRODUCED
