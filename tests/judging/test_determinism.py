"""A candidate whose two runs differ though nothing before says why is told to be what it is: not deterministic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parity.errors import ExitCode
from parity.judging.determinism import unsteady
from parity.judging.judge import judge
from parity.judging.judgement import Comparison
from parity.report.first import first
from parity.report.json import dumps, read_comparison
from parity.report.sentences import verdict
from parity.traces.trace import Key
from tests.toy import CONTRACT, Port, Toy, runs, write


def wavering(step):
    """A step whose value is one rounding larger in the second run: far within its floor."""
    calls = iter(range(99))
    return {step: lambda x: x if next(calls) < 2 else np.nextafter(x, np.float32(9))}


@pytest.fixture
def oracle(tmp_path):
    return write(tmp_path, "oracle", Toy())


@pytest.fixture
def found(oracle, tmp_path):
    """The first step that differs without a reason, of a candidate."""

    def run(wrong=None, **keep):
        made = runs(tmp_path, "candidate", Port("float32", wrong), oracle)
        return unsteady(oracle=oracle, free=made.free, lockstep=made.lockstep)

    return run


def test_a_steady_candidate(found):
    assert found() is None


@pytest.mark.parametrize("step", ["embed", "layers.0.mean"])
def test_a_step_that_wavers_is_found(step, found):
    """Ids and rows of the table are the oracle's own, so that lockstep replaces nothing until behind the mean."""
    assert found(wavering(step)) == Key("prefill", step)


def test_behind_a_replaced_value_runs_may_differ(found):
    """The mean is rounded, so lockstep hands back another one; logits differ for it."""
    assert found(wavering("logits")) is None


def test_a_wrong_step_is_no_reason_before_it(found):
    """What is wrong the same way in both runs is steady; what follows from it differs for its sake."""
    assert found({"embed": lambda x: x * np.float32(1.1)}) is None


def test_tensors_serve_where_a_writer_gives_no_digests(oracle, tmp_path):
    made = runs(tmp_path, "candidate", Port("float32", wavering("embed")), oracle)
    mute = [
        replace(run, records={key: record.model_copy(update={"digest": ""}) for key, record in run.records.items()})
        for run in made.present
    ]
    assert unsteady(oracle=oracle, free=mute[0], lockstep=mute[1]) == Key("prefill", "embed")
    assert unsteady(oracle=oracle, free=mute[0], lockstep=None) is None


def test_every_report_says_it(oracle, tmp_path):
    """Although every step is within its floor: exit code 1, the sentence, the headline, and JSON."""
    base = runs(tmp_path, "baseline", Toy("float32"), oracle)
    made = runs(tmp_path, "candidate", Port("float32", wavering("embed")), oracle)
    judgement = judge(oracle=oracle, baseline=base, candidate=made)
    assert judgement.first_divergence is None
    assert judgement.exit_code is ExitCode.DIVERGED
    said = "not deterministic: from the same inputs its two runs differ at embed (prefill), so no floor holds"
    assert verdict(judgement).startswith(f"diverged: {said}")
    comparison = Comparison(CONTRACT, oracle.manifest, (judgement,))
    screen = first(comparison)
    assert screen.headline == "port in float32 is not deterministic"
    assert screen.explanation[0] == f"{said[0].upper()}{said[1:]}."
    (tmp_path / "report.json").write_text(dumps(comparison))
    assert read_comparison(tmp_path) == comparison
