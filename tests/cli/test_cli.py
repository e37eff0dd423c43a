"""The command line: exit codes, one-line errors, what it starts, and what it hands to the engine."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parity.checkpoint import Checkpoint
from parity.errors import BackendUnavailable, ExitCode, UsageError
from parity.generation import Message, Sampling
from parity.media import Part
from parity.report.json import read_comparison
from tests import report_samples as samples
from tests.toy import CONTRACT, Port, Toy, runs, write

ROOT = Path(__file__).parents[2]
CHECKPOINT = Checkpoint(Path("/nowhere"), "tiny", "weights")


@pytest.fixture(autouse=True)
def steady(monkeypatch):
    """One width and no colour."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("parity.checkpoint.find_checkpoint", lambda spec: replace(CHECKPOINT, name=spec or "tiny"))
    monkeypatch.setattr("parity.discovery.reference_of", lambda checkpoint, spec=None: spec or "transformers")


@pytest.fixture
def engine(monkeypatch):
    """Stands in for the engine: notes requests, and answers with `engine.answer` or what it raises."""

    class Engine:
        requests = []  # noqa: RUF012 - of one test
        answer = staticmethod(samples.parity)

    engine = Engine()
    engine.requests = []

    def compare(request, *, progress, look=None):
        engine.requests.append(request)
        engine.look = look
        comparison = engine.answer()
        judgements = tuple(replace(judgement, dtype=request.dtype) for judgement in comparison.judgements)
        return replace(comparison, judgements=judgements)

    def unknown(names, dtype):
        if dtype not in ("float32", "bfloat16"):
            raise UsageError(f"no dtype {dtype!r}")

    monkeypatch.setattr("parity.compare.compare", compare)
    monkeypatch.setattr("parity.running.plan.require_dtype", unknown)
    return engine


def raising(failure):
    """A function that takes anything and raises `failure`."""

    def fail(*arguments, **fields):
        raise failure

    return fail


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
    assert request.checkpoint == CHECKPOINT
    assert (request.candidates, request.dtype, request.scenarios) == (("mlx",), "float32", ("one-shot",))
    assert (request.prompt, request.keep) == (None, None)


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
    assert engine.look is None
    parity("compare", "--report", tmp_path)
    assert callable(engine.look)


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


@pytest.mark.parametrize(
    ("failure", "code", "line"),
    [
        (BackendUnavailable("mlx is not\ninstalled\x1b"), 3, r"parity: mlx is not\ninstalled\x1b"),
        (OSError(28, "No space left on device", "/tmp/x"), 2, "parity: No space left on device: /tmp/x"),
        (KeyboardInterrupt(), 130, "parity: interrupted"),
        (BrokenPipeError(), 141, ""),
        (ZeroDivisionError("oops"), 2, "parity: internal error, ZeroDivisionError: oops; PARITY_DEBUG=1 shows where"),
    ],
)
def test_failures_are_one_line(failure, code, line, parity, monkeypatch):
    """Whatever goes wrong: one line on standard error, an exit code, no traceback."""
    monkeypatch.setattr("parity.cli.guard._silence", lambda descriptor: None)
    monkeypatch.setattr("parity.running.single.health", raising(failure))
    assert parity("doctor") == (code, "", f"{line}\n" if line else "")


def test_debug_shows_the_traceback(parity, monkeypatch):
    """PARITY_DEBUG=1 shows where it went wrong."""
    monkeypatch.setenv("PARITY_DEBUG", "1")
    monkeypatch.setattr("parity.running.single.health", raising(UsageError("no")))
    code, _, err = parity("doctor")
    assert code == 2
    assert "Traceback" in err
    assert err.endswith("parity: no\n")


@pytest.mark.parametrize(("good", "code"), [(True, 0), (False, 3)])
def test_doctor(good, code, parity, monkeypatch):
    """A problem is exit 3; candidates are passed on."""
    asked = []
    findings = [("mlx", True, "mlx", "0.32"), ("mlx", good, "BLAS", "install openblas")]
    monkeypatch.setattr("parity.running.single.health", lambda names: asked.append(names) or iter(findings))
    left, out, _ = parity("doctor", "--candidates", "mlx,onnx")
    assert (left, asked) == (code, [("mlx", "onnx")])
    assert "install openblas" in out


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


@pytest.fixture
def said(monkeypatch):
    """What the engine was asked, and a backend that always answers the same."""
    asked = []

    @contextlib.contextmanager
    def writer(**given):
        def write(messages, sampling):
            asked.append((given["backend"], list(messages), sampling))
            yield from ("Par", "is\x1b", ".")

        yield write

    monkeypatch.setattr("parity.running.single.writer", writer)
    return asked


def test_generate(parity, said):
    """Pieces are printed as they come; into a pipe, as they are."""
    code, out, _ = parity("generate", "--backend", "mlx", "--prompt", "Hi", "--max-tokens", "7", "--top-k", "3")
    assert (code, out) == (0, "Paris\x1b.\n")
    assert said == [("mlx", [Message("text", (Part("text", "Hi"),))], Sampling(max_tokens=7, top_k=3))]


def test_generate_answers_to_files(parity, said, tmp_path):
    """Pictures stand before sounds and the text, in a user's turn."""
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.wav").write_bytes(b"")
    files = ("--audio", tmp_path / "b.wav", "--image", tmp_path / "a.png")
    assert parity("generate", "--backend", "mlx", "--prompt", "What?", *files)[0] == 0
    ((_, (message,), _),) = said
    assert message.role == "user"
    assert [(part.kind, Path(part.value).name) for part in message.prompt] == [
        ("image", "a.png"), ("audio", "b.wav"), ("text", "What?"),
    ]  # fmt: skip


def test_chat(parity, said, monkeypatch):
    """A turn a line; each answer is part of what is asked next."""
    monkeypatch.setattr("sys.stdin", io.StringIO("And?\n\nSo?\n"))
    assert parity("generate", "--backend", "mlx", "--prompt", "Hi", "--chat")[:2] == (0, "Paris\x1b.\n" * 3)
    assert [len(messages) for _, messages, _ in said] == [1, 3, 5]
    assert [message.role for message in said[-1][1]] == ["user", "model", "user", "model", "user"]
    assert said[-1][1][1].prompt == (Part("text", "Paris\x1b."),)


def test_generate_refuses_nothing_and_what_is_no_file(parity, said, tmp_path):
    assert parity("generate", "--backend", "mlx")[::2] == (
        2, "parity: nothing to write about: give --prompt, --image, --audio or --chat\n",
    )  # fmt: skip
    code, _, err = parity("generate", "--backend", "mlx", "--image", tmp_path / "none.png")
    assert (code, "no such file" in err) == (2, True)
    code, _, err = parity("generate", "--backend", "mlx", "--prompt", "a", "--top-p", "2")
    assert (code, err) == (2, "parity: top_p is 2.0; it must be above 0 and at most 1\n")
    assert not said


def test_steps(parity, monkeypatch):
    """Folded, by layer, by text, in full, or as JSON."""
    monkeypatch.setattr("parity.running.single.contract_of", lambda checkpoint, reference: samples.contract())
    assert "text.layers.{0-9}.attn.q_rope" in parity("steps")[1]
    assert "text.layers.7.attn.q_rope" in parity("steps", "--all")[1]
    assert "text.layers.3.attn.q_rope  batch token hidden" in parity("steps", "--layer", "3")[1]
    assert "text.layers.{0-9}.attn.q_proj" in parity("steps", "--grep", "QUERY proj")[1]
    data = json.loads(parity("steps", "--json", "--layer", "3")[1])
    assert data["steps"][0]["name"] == "text.layers.3.input_layernorm"
    code, _, err = parity("steps", "--layer", "99")
    assert (code, err) == (2, "parity: the contract of gemma3n has no step of layer 99\n")


@pytest.fixture
def traces(tmp_path):
    """Traces of a toy: the oracle, the baseline, a good candidate and one with a fault."""
    oracle = write(tmp_path, "oracle", Toy())
    runs(tmp_path, "baseline", Toy("float32"), oracle)
    runs(tmp_path, "good", Port("float32"), oracle)
    runs(tmp_path, "bad", Port("float32", {"embed": lambda x: x * np.float32(1.001)}), oracle)
    return tmp_path


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


def test_version_and_usage(parity):
    """The version; help without a command; a typo is a usage error."""
    code, out, _ = parity("--version")
    assert code == 0
    assert out.startswith("parity")
    assert parity("--help")[0] == 0
    code, _, err = parity("compar")
    assert code == 2
    assert "Did you mean 'compare'?" in err


def python(*arguments, **options):
    """A Python of its own, from the repository's root."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, text=True, capture_output=True, check=False, **options
    )


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], ["show", "TRACE"], ["diff", "O", "C"]])
def test_no_framework_is_started(arguments, traces):
    """Help, show and diff start without any framework."""
    places = {"TRACE": str(traces / "oracle"), "O": str(traces / "oracle"), "C": str(traces / "good.free")}
    program = """
import sys
from parity.cli import main
try:
    main(sys.argv[1:])
except SystemExit as left:
    heavy = {"torch", "transformers", "mlx", "timm", "tokenizers", "huggingface_hub"} & set(sys.modules)
    sys.exit(f"started {heavy}" if heavy or left.code else 0)
"""
    done = python("-c", program, *(places.get(argument, argument) for argument in arguments))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_pipe_is_quiet(traces):
    """`parity show | head` ends without a word."""
    program = f"'{sys.executable}' -m parity show '{traces / 'oracle'}' | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", program], cwd=ROOT, capture_output=True, check=False)
    assert done.stderr == b""
    assert done.returncode in (0, 141)  # 0 where the pipe took everything before it was closed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_a_full_disk_is_one_line(traces):
    """No report that is not there, no traceback."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "parity", "show", traces / "oracle"],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False, text=True,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "parity: No space left on device\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_in_order(number, code, tmp_path):
    """An interrupt and a termination run what is to be cleaned up, and say at most one line."""
    program = """
import signal, time
import parity.running.single
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
def health(names):
    try:
        print("started", flush=True)
        time.sleep(60)
        yield
    finally:
        print("cleaned up", flush=True)
parity.running.single.health = health
from parity.cli import main
main(["doctor"])
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, text=True, **pipes)
    assert process.stdout.readline() == "started\n"
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "cleaned up\n")
    assert err == ("parity: interrupted\n" if number == signal.SIGINT else "")
