"""docs/examples/foreign_trace.py: a trace that was written without this project is judged like any other."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the [hf] extra")

from parity.errors import ExitCode  # noqa: E402
from parity.judging.judge import judge  # noqa: E402  # behind importorskip
from parity.judging.verdict import Status  # noqa: E402
from parity.traces.runs import Runs  # noqa: E402  # behind importorskip
from parity.traces.trace import Trace  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "foreign_trace.py"
STEPS = 3


@pytest.fixture
def judged(harness, tmp_path):
    """Judges what a text of the example writes, run where no package can be imported."""

    def run(program):
        (tmp_path / "example.py").write_text(program)
        oracle, output = harness.oracle_trace("one-shot"), tmp_path / "traces"
        isolated = [sys.executable, "-I", "-S", str(tmp_path / "example.py")]
        subprocess.run([*isolated, str(oracle.path), str(harness.checkpoint), str(output)], check=True)
        runs = Runs(*(Trace.read(output / mode) for mode in ("free", "lockstep")))
        return judge(oracle=oracle, baseline=harness.baseline_runs("float32", "one-shot"), candidate=runs)

    return run


def test_the_documented_command_judges_them(harness, tmp_path, monkeypatch, parity):
    """Word for word, with the traces under the names that the page gives them."""
    page = (EXAMPLE.parents[1] / "trace-format.md").read_text()
    (command,) = [line for line in page.splitlines() if line.startswith("parity diff ")]
    oracle, base = harness.oracle_trace("one-shot"), harness.baseline_runs("float32", "one-shot")
    output = tmp_path / "written"
    subprocess.run([sys.executable, str(EXAMPLE), str(oracle.path), str(harness.checkpoint), str(output)], check=True)
    for name, path in {
        "oracle": oracle.path,
        "mine": output / "free",
        "mine-lockstep": output / "lockstep",
        "base.free": base.free.path,
        "base.lockstep": base.lockstep.path,
    }.items():
        (tmp_path / name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    code, out, _ = parity(*shlex.split(command)[1:])
    assert code == ExitCode.INCOMPLETE  # three steps of all
    assert "foreign float32, one-shot: incomplete: 3 of 1,229 steps covered" in out
    assert "not measured" not in out


@pytest.mark.exhaustive
def test_the_documented_commands_write_what_they_say(tmp_path, monkeypatch, parity):
    """The oracle's trace and the baseline's two, which `parity diff` refuses as candidates."""
    page = (EXAMPLE.parents[1] / "trace-format.md").read_text()
    commands = re.findall(r"parity trace [^`\n]+", page)
    assert len(commands) == 3
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert parity(*shlex.split(command)[1:])[0] == ExitCode.PARITY
    assert [Trace.read(tmp_path / f"base.{mode}").manifest.mode for mode in ("free", "lockstep")] == [
        "free",
        "lockstep",
    ]
    code, _, err = parity("diff", "oracle", "base.free", "base.lockstep")
    assert code == ExitCode.USAGE
    assert "give it as --baseline base.free" in " ".join(err.split())


def test_embeddings_are_at_parity(judged):
    """All that is there is right; all that is not is missed."""
    judgement = judged(EXAMPLE.read_text())
    assert judgement.counts[Status.OK] == STEPS
    assert len(judgement.missing) == len(judgement.steps) - STEPS
    assert not judgement.introduced
    assert 0 < judgement.worst.ratio <= 1


@pytest.mark.parametrize(
    ("right", "wrong", "step"),
    [
        ("ids, scale)", "ids, 11.3125)", "text.embed_tokens"),
        ("ids, sqrt(ple))", "ids, 1)", "text.per_layer_inputs.token"),
        ("*ids)", "*reversed(ids))", "text.input_ids"),
    ],
)
def test_a_fault_is_found(judged, right, wrong, step):
    program = EXAMPLE.read_text()
    assert program.count(right) == 1
    assert [verdict.step for verdict in judged(program.replace(right, wrong)).introduced] == [step]
