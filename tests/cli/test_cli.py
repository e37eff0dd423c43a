"""The command line: one-line errors, what it starts, and what it hands to the engine."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parity.errors import BackendUnavailable, UsageError
from parity.generation import Message, Sampling
from parity.media import Part
from tests import report_samples as samples

ROOT = Path(__file__).parents[2]


def raising(failure):
    """A function that takes anything and raises `failure`."""

    def fail(*arguments, **fields):
        raise failure

    return fail


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


def test_generate_ends_at_a_text(parity, said):
    assert parity("generate", "--backend", "mlx", "--prompt", "Hi", "--stop", "a, b", "--stop", "c")[0] == 0
    assert said[0][2] == Sampling(stop=("a, b", "c"))


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
    heavy = {"torch", "transformers", "mlx", "timm", "tokenizers", "huggingface_hub", "fastapi"} & set(sys.modules)
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
