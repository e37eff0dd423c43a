"""`parity diff ORACLE DUMP`: what is printed, and the exit code."""

from __future__ import annotations

import json

import numpy as np
import pytest

from parity.errors import ExitCode
from tests.dumps.stack import SCENARIO, STEPS, Stack, as_a_server, dumped
from tests.toy import write


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    """A folder with the traces of oracle and baseline, and dumps of a right port and of a wrong one."""
    folder = tmp_path_factory.mktemp("stacks")
    oracle = write(folder, "oracle", Stack(), scenario=SCENARIO)
    baseline = write(folder, "baseline", Stack("float32"), "float32", oracle=oracle.path)
    write(folder, "locked", Stack("float32"), "float32", oracle=oracle.path, mode="lockstep")
    wrong = Stack("float32", {"layers.1.inner": lambda x: x * np.float32(1.01)})
    port = write(folder, "port", wrong, "float32", oracle=oracle.path)
    np.savez(folder / "right.npz", **dumped(baseline, as_a_server), other=np.linspace(0, 1, 77))
    np.savez(folder / "wrong.npz", **dumped(port, as_a_server))
    np.savez(folder / "some.npz", **dumped(baseline, lambda step, phase: step if step == "logits" else ""))
    return folder


def test_a_right_dump(parity, stacks):
    """A line for all layers, the layouts, and what is no step."""
    code, out, _ = parity("diff", stacks / "oracle", stacks / "right.npz", "--baseline", stacks / "baseline")
    assert code == ExitCode.PARITY
    assert f"right.npz: parity\n  of {STEPS} steps {STEPS} equal, 0 different, 0 not shown\n" in out
    (line,) = [line for line in out.splitlines() if line.startswith("layers.{0-3}.queries  prefill")]
    assert "pass_0.model.layers.{0-3}.self_attn.q" in line
    assert "(batch token) (head head_dim) -> batch head token head_dim" in line
    assert "1 floor = the reference's error in its free run; 4 are allowed." in out
    assert f"{STEPS + 1} in the dump, 1 of them no step: other" in out


def test_a_wrong_dump(parity, stacks):
    """The first step that differs, how it is known, and the last before it that is equal."""
    code, out, _ = parity("diff", stacks / "oracle", stacks / "wrong.npz")
    assert code == ExitCode.DIVERGED
    assert "wrong.npz: diverged: first at layers.1.inner (prefill): " in " ".join(out.split())
    assert "tensor  pass_0.model.layers.1.mlp.act, known as in another layer" in out
    assert "before  layers.1.queries is equal" in out
    assert "none was measured; give --baseline" in out
    code, out, _ = parity("diff", stacks / "oracle", stacks / "wrong.npz", "--json")
    found = json.loads(out)
    assert (code, found["exit_code"], found["first"]["step"]) == (1, 1, "layers.1.inner")
    assert found["first"]["error"] == pytest.approx(0.01, rel=0.01)


def test_a_dump_of_some_steps(parity, stacks):
    """What is not shown is no parity."""
    code, out, _ = parity("diff", stacks / "oracle", stacks / "some.npz", "--baseline", stacks / "baseline")
    assert code == ExitCode.INCOMPLETE
    assert f"some.npz: incomplete\n  of {STEPS} steps 1 equal, 0 different, {STEPS - 1} not shown" in out


def test_what_does_not_go_with_a_dump(parity, stacks):
    """Another run as its floors, several at a time, traces without tensors."""
    oracle, dump, port = stacks / "oracle", stacks / "right.npz", stacks / "port"
    write(stacks, "bare", Stack(), scenario=SCENARIO, keep_tensors=False)
    for given, reason in {
        (oracle, dump, "--baseline", stacks / "locked"): "is a lockstep run, and a dump is of a free one",
        (oracle, dump, "--baseline", port): "is no baseline",
        (oracle, dump, port): "a dump is compared by itself",
        (stacks / "bare", dump): "has no tensors; write it again, without --no-tensors",
    }.items():
        code, _, complaint = parity("diff", *given)
        assert (code, complaint.count("\n")) == (ExitCode.USAGE, 1)
        assert reason in complaint
