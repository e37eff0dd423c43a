"""`parity trace`, `diff` and `show`: traces on disk, written, judged and looked at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from parity.errors import ExitCode
from parity.report.json import read_comparison
from parity.scenario import Chunk
from parity.traces.trace import Trace
from tests.toy import CONTRACT, SCENARIO, Toy, runs, write


def test_trace(parity, monkeypatch, tmp_path):
    """Options reach the engine, and the trace's path is printed."""
    asked = []
    monkeypatch.setattr("parity.running.single.write_trace", lambda **given: asked.append(given) or given["output"])
    code, out, _ = parity(
        "trace", "--backend", "mlx", "--output", tmp_path / "t", "--oracle", tmp_path / "o", "--no-tensors"
    )
    (given,) = asked
    assert (code, out) == (0, f"{tmp_path / 't'}\n")
    assert (given["backend"], given["oracle"], given["keep_tensors"]) == ("mlx", tmp_path / "o", False)
    assert (given["scenario"], given["prompt"], given["dtype"]) == ("one-shot", None, "float32")
    assert parity("trace", "--backend", "mlx", "--output", tmp_path, "--scenario", "all")[0] == 2
    assert parity("trace", "--output", tmp_path)[0] == 2


def both(folder, name):
    """The two runs of a party."""
    return [folder / f"{name}.free", folder / f"{name}.lockstep"]


def test_diff(parity, traces):
    """Traces on disk are judged as a comparison's are."""
    free, lockstep = both(traces, "baseline")
    baseline = ["--baseline", free, "--baseline", lockstep]
    code, out, _ = parity("diff", traces / "oracle", *both(traces, "good"), *baseline)
    assert code == ExitCode.PARITY
    assert "port float32, toy: parity. 8 of 8 steps covered" in out
    assert "1 floor = the largest error that toy makes in float32" in " ".join(out.split())
    code, out, _ = parity("diff", traces / "oracle", *both(traces, "bad"), *baseline)
    assert code == ExitCode.DIVERGED
    assert "diverged: first at embed (prefill)" in out


def test_diff_without_a_baseline(parity, traces):
    """That the floor was not measured is said plainly."""
    out = parity("diff", traces / "oracle", *both(traces, "good"))[1]
    assert "The floor was not measured" in out
    free, lockstep = both(traces, "baseline")
    for given, missing in ((free, "lockstep"), (lockstep, "free")):
        out = " ".join(parity("diff", traces / "oracle", *both(traces, "good"), "--baseline", given)[1].split())
        assert f"The floor of the {missing} run was not measured" in out
    alone = both(traces, "good")[0]
    assert "not measured" not in parity("diff", traces / "oracle", alone, "--baseline", free)[1]


def test_diff_of_a_free_run_alone(parity, traces):
    """It says where the candidate first diverges, and not which step errs by itself."""
    free, baseline = both(traces, "bad")[0], both(traces, "baseline")[0]
    code, out, _ = parity("diff", traces / "oracle", free, "--baseline", baseline)
    assert code == ExitCode.DIVERGED
    out = " ".join(out.split())
    assert "diverged: only a lockstep run tells which steps err by themselves; first at embed (prefill)" in out
    assert "introduced" not in out


def test_diff_refuses_the_reference(parity, traces):
    """As a candidate it would be judged by itself; what to do with its trace is said."""
    free, lockstep = both(traces, "baseline")
    for wrong in (free, traces / "oracle"):
        code, _, err = parity("diff", traces / "oracle", wrong, "--baseline", lockstep)
        assert code == ExitCode.USAGE
        assert f"give it as --baseline {wrong}" in " ".join(err.split())


def test_diff_json(parity, traces, tmp_path):
    """`--json` is the report's schema."""
    out = parity("diff", traces / "oracle", *both(traces, "bad"), "--json")[1]
    (tmp_path / "report.json").write_text(out)
    assert read_comparison(tmp_path).judgements[0].introduced[0].step == "embed"


def test_diff_refuses(parity, traces):
    """Two runs of one kind, no oracle, and a floor of another arithmetic."""
    free, lockstep = both(traces, "good")
    other = write(traces, "half", Toy("float16"), "float16", oracle=traces / "oracle")
    assert "both a free run of port" in parity("diff", traces / "oracle", free, traces / "bad.free")[2]
    assert "no contract.json" in parity("diff", free, lockstep)[2]
    assert "no baseline in float32" in parity("diff", traces / "oracle", free, "--baseline", other.path)[2]
    assert "is not a trace" in parity("diff", traces, free)[2]
    assert parity("diff", traces / "oracle")[0] == 2


def refused(parity, folder, baseline, candidate="good"):
    """What `diff` says of baselines that it does not take: one line, exit 2."""
    given = [part for path in baseline for part in ("--baseline", path)]
    code, out, err = parity("diff", folder / "oracle", *both(folder, candidate), *given)
    assert (code, out, err.count("\n")) == (ExitCode.USAGE, "", 1)
    return err


def test_diff_refuses_a_candidate_as_its_own_baseline(parity, traces):
    """Whatever it errs would be one floor."""
    err = refused(parity, traces, both(traces, "bad"), "bad")
    assert "bad.free is of port, and a floor is what the reference errs; give as --baseline a trace of toy" in err


def test_diff_refuses_a_floor_that_no_arithmetic_has(parity, traces):
    """A trace of another model's, or of a reference with a fault, under the reference's name."""
    runs(traces, "wrong", Toy("float32", {"embed": lambda x: x * np.float32(1.5)}), Trace.read(traces / "oracle"))
    err = refused(parity, traces, both(traces, "wrong"), "bad")
    assert "wrong.free is no baseline: it errs 5.0e-01 at embed (prefill), and correct float32 at most 3.9e-03" in err


@pytest.mark.parametrize("name", ["oracle", "baseline.free", "baseline.lockstep", "good.free"])
def test_diff_refuses_a_tensor_that_was_changed(parity, traces, name):
    """Of whichever party."""
    file = traces / name / "tensors" / "decode.1.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "logits": tensors["logits"] * np.float32(1.001)}, file)
    err = refused(parity, traces, both(traces, "baseline"))
    assert f"{name}: the tensor of logits in decode.1 is not the one that was recorded" in err


def test_diff_refuses_a_baseline_of_another_scenario(parity, traces):
    """The same checkpoint, other tokens."""
    other = replace(SCENARIO, chunks=(Chunk("prefill", ((4, 3, 2, 1),)), *SCENARIO.chunks[1:]))
    oracle = write(traces, "other", Toy(), scenario=other)
    runs(traces, "base", Toy("float32"), oracle)
    assert "is of another scenario" in refused(parity, traces, both(traces, "base"))


def test_diff_refuses_a_candidate_given_as_baseline_and_back(parity, traces):
    """`--baseline` takes one trace; the second one would be a candidate."""
    code, _, err = parity("diff", traces / "oracle", *both(traces, "good"), "--baseline", *both(traces, "baseline"))
    assert code == ExitCode.USAGE
    assert "give it as --baseline" in err


def test_show(parity, traces):
    """All steps, some, one, none."""
    out = parity("show", traces / "oracle")[1]
    assert all(step.name in out for step in CONTRACT)
    out = parity("show", traces / "oracle", "--step", "l*", "--phase", "decode.*")[1]
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["layers.0.mean", "logits"]
    assert "sketch" in parity("show", traces / "oracle", "--step", "embed", "--phase", "prefill")[1]
    code, _, err = parity("show", traces / "oracle", "--step", "nope")
    assert code == 2
    assert "no step 'nope'" in err
    assert "its phases: prefill, decode.1" in err
