"""transformers.js runs a package of ours, as a page in a browser would, and says the tokens that our own loop says.

Nothing of it knows us: it has its own tokenizer, processors of pictures and sounds, loop and sampling. The package's
files are all that we share, and ONNX Runtime, of which Node's binding has another version.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from implementations.onnx import Backend
from implementations.onnx.command import export
from parity.media import Part
from tests.marks import every_change

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).parents[2] / "transformers_js" / "answers.mjs"
SAMPLES = Path(__file__).parents[3] / "samples"
LONGEST = 16
CIRCLE, TONE = str(SAMPLES / "red-circle.png"), str(SAMPLES / "low-tone.wav")
QUESTIONS = [
    [Part("text", "Hello world, what do you see?")],
    [Part("image", CIRCLE), Part("text", "What is it?")],
    [Part("audio", TONE), Part("text", "What do you hear?")],
    [Part("image", CIRCLE), Part("audio", TONE), Part("text", "What is it, and what do you hear?")],
]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The embedded checkpoint's package, in two number formats."""
    folder = tmp_path_factory.mktemp("models") / "package"
    assert export("tiny", folder, "fp32,q4") == 0
    return folder


@pytest.fixture(scope="module")
def turns(harness):
    """The processed questions: a chunk of each."""
    plans = [harness.oracle.scenario("generate", parts[-1].value, parts[:-1]) for parts in QUESTIONS]
    return [plan.chunks[0] for plan in plans]


@pytest.mark.parametrize("kind", every_change(["fp32", "q4"], "fp32"))
def test_it_says_the_same_tokens(kind, package, turns):
    """Prompts are split into the same ids, and answered by the same."""
    there = answered(package, kind)
    ends = json.loads((package / "generation_config.json").read_text())["eos_token_id"]
    backend = Backend.load(package, "float32", package=str(package), type=kind)
    assert [turn["prompt"] for turn in there] == [list(turn.tokens[0]) for turn in turns]
    assert [turn["said"] for turn in there] == [said(backend, turn, ends) for turn in turns]


def answered(package, dtype):
    """What transformers.js reads and says."""
    if shutil.which("node") is None or not (PROGRAM.parent / "node_modules").is_dir():
        pytest.skip("no transformers.js: npm ci --ignore-scripts --prefix tests/transformers_js")
    asked = {
        "models": f"{package.parent}/",
        "package": package.name,
        "dtype": dtype,
        "tokens": LONGEST,
        "turns": [dict(map(given, parts)) for parts in QUESTIONS],
    }
    node = subprocess.run(["node", PROGRAM], input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert node.returncode == 0, node.stderr
    return json.loads(node.stdout)


def given(part):
    """A part as the program takes it."""
    if part.kind != "audio":
        return part.kind, part.value
    with wave.open(part.value) as sound:
        return "audio", (np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 2**15).tolist()


def said(backend, turn, ends):
    """Token ids that are likeliest, one after the other, up to one that ends the turn."""
    backend.start(padding=(0,), cache=True)
    logits, found = backend.forward(np.array(turn.tokens), prompts=turn.prompts), []
    while len(found) < LONGEST and not {*found[-1:]} & {*ends}:
        found.append(int(logits[0, -1].argmax()))
        logits = backend.forward(np.array([found[-1:]]))
    return found
