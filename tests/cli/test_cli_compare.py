"""`parity compare` on the command line: exit codes, what it hands to the engine, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from parity.checkpoint import Checkpoint
from parity.errors import UsageError
from parity.report.json import read_comparison
from tests import report_samples as samples


@pytest.mark.parametrize(
    ("sample", "code"),
    [("parity", 0), ("near tie", 0), ("diverged", 1), ("broken", 1), ("crashed", 3), ("incomplete", 5), ("several", 3)],
)
def test_compare_exit_codes(sample, code, parity, engine):
    """The exit code is the verdict's."""
    engine.answer = samples.SAMPLES[sample]
    left, out, err = parity("compare")
    assert left == code
    assert "mlx float32, one-shot: " in out
    assert err == ""


def test_compare_defaults(parity, engine):
    """No prompt is not an empty prompt."""
    parity("compare")
    (request,) = engine.requests
    assert request.checkpoint == Checkpoint(Path("/nowhere"), "tiny", "weights")
    assert (request.candidates, request.dtype, request.scenarios) == (("mlx",), "float32", ("one-shot",))
    assert (request.prompt, request.keep) == (None, None)


def test_prompts_are_drawn_for_a_report(parity, engine, tmp_path):
    """As many as are asked for, the same each time; else it is the judged one."""
    for words in (("--cost-draws", "3"), ("--cost-draws", "3"), ()):
        parity("compare", "--report", tmp_path / "it", *words)
    first, second, judged = (request.cost_prompts for request in engine.requests)
    assert (len(first), first, judged) == (3, second, ())


def test_compare_options(parity, engine, tmp_path):
    """Lists have commas; several dtypes are compared one after another, and told together."""
    code, out, _ = parity(
        "compare", "--prompt", "Hi", "--model", "dir", "--candidates", "mlx, onnx,mlx", "--dtype", "float32,bfloat16",
        "--scenario", "decode,long", "--keep", tmp_path,
    )  # fmt: skip
    first, second = engine.requests
    assert (first.prompt, first.checkpoint.name, first.candidates) == ("Hi", "dir", ("mlx", "onnx"))
    assert (first.dtype, first.scenarios, first.keep) == ("float32", ("decode", "long"), tmp_path / "float32")
    assert (second.dtype, second.keep) == ("bfloat16", tmp_path / "bfloat16")
    assert code == 0
    assert "mlx bfloat16, one-shot: parity." in out


def test_compare_worst_of_all_dtypes(parity, engine):
    """One divergence among several dtypes is the verdict."""
    answers = iter([samples.parity(), samples.diverged()])
    engine.answer = lambda: next(answers)
    assert parity("compare", "--dtype", "float32,bfloat16")[0] == 1


def test_compare_environment(parity, engine, monkeypatch, tmp_path):
    """Every option that make passes on is read; an empty prompt is a prompt."""
    given = {"PROMPT": "", "MODEL": "dir", "CANDIDATES": "onnx", "DTYPE": "bfloat16", "SCENARIO": "batch"}
    for name, value in {**given, "REPORT": str(tmp_path)}.items():
        monkeypatch.setenv(f"PARITY_{name}", value)
    parity("compare")
    (request,) = engine.requests
    assert (request.prompt, request.checkpoint.name, request.candidates) == ("", "dir", ("onnx",))
    assert (request.dtype, request.scenarios) == ("bfloat16", ("batch",))
    assert sorted(os.listdir(tmp_path)) == ["index.html", "model-explorer", "report.json", "report.md"]


def test_compare_looks_at_traces_for_a_report_alone(parity, engine, tmp_path):
    """Details are taken while the traces exist, and only where somebody will read them."""
    parity("compare")
    assert (engine.look, engine.told) == (None, None)
    parity("compare", "--report", tmp_path)
    assert callable(engine.look)
    assert callable(engine.told)


def test_compare_refuses_a_report_that_it_cannot_render(parity, engine, monkeypatch, tmp_path):
    """Before the long work starts, not after it."""

    def refuse():
        raise UsageError("the HTML report needs jinja2")

    monkeypatch.setattr("parity.report.html.require_templates", refuse)
    assert parity("compare", "--report", tmp_path)[0] == 2
    assert engine.requests == []


def test_compare_all_scenarios(parity, engine):
    """`all` stands for every scenario that the reference knows."""
    parity("compare", "--scenario", "all")
    assert {"one-shot", "decode", "batch"} < set(engine.requests[0].scenarios)


def test_compare_json(parity, engine, tmp_path):
    """`--json` prints what `--report` writes, and nothing else."""
    engine.answer = samples.diverged
    code, out, err = parity("compare", "--json", "--report", tmp_path)
    assert (code, err) == (1, "")
    assert json.loads(out) == json.loads((tmp_path / "report.json").read_text())
    assert read_comparison(tmp_path) == samples.diverged()


def test_compare_says_what_to_type_next(parity, engine, tmp_path):
    """A divergence ends with the command that shows the step."""
    engine.answer = samples.diverged
    show = "--step text.layers.0.attn.q_rope --phase prefill"
    assert f"add --keep DIR, then parity show DIR/one-shot/mlx.lockstep {show}" in " ".join(
        parity("compare")[1].split()
    )
    out = parity("compare", "--keep", tmp_path)[1]
    assert f"parity show {tmp_path}/one-shot/mlx.lockstep {show}" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dtype", "float31"], "no dtype 'float31'"),
        (["--dtype", "float32,float31"], "no dtype 'float31'"),
        (["--dtype", ","], "--dtype names nothing"),
        (["--scenario", "nope"], "unknown scenario 'nope'; choose of one-shot"),
        (["--candidates", " "], "--candidates names nothing"),
        (["--prompt", "\udcff"], "not valid UTF-8"),
        (["--frob"], "No such option: --frob"),
        (["--report", "/dev/null/x"], "cannot write to /dev/null/x"),
        (["--keep", "/dev/null/x"], "cannot write to /dev/null/x"),
    ],
)
def test_compare_refuses_before_it_starts(arguments, message, parity, engine):
    """A request that cannot be carried out costs nothing: one line, exit 2."""
    code, out, err = parity("compare", *arguments)
    assert (code, out, engine.requests) == (2, "", [])
    assert err.startswith("parity: ")
    assert message in err
    assert err.count("\n") == 1


def test_compare_does_not_write_over_kept_traces(parity, engine, tmp_path):
    """Traces of an earlier run stay."""
    (tmp_path / "one-shot").mkdir()
    code, _, err = parity("compare", "--keep", tmp_path)
    assert (code, engine.requests) == (2, [])
    assert "one-shot exists already" in err
