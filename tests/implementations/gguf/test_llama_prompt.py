"""Prompts that libmtmd cuts: its own ids and their own number, which lack the newlines around a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

from implementations.gemma3n.preprocessing.preprocessor import Preprocessor  # behind importorskip
from implementations.gemma3n.preprocessing.settings import MediaTokens
from implementations.gguf import Backend
from implementations.gguf.deviations import DEVIATIONS, PICTURE
from parity.errors import ExitCode, UsageError
from parity.generation import Message, Sampling
from parity.media import Part
from parity.placing import EVERYWHERE
from parity.tap import ScopedTap
from reference.gemma3n.huggingface import Reference
from reference.tiny import path
from tests.implementations.gguf.seeing import TOKENS, seeing
from tests.marks import every_change
from tests.ports import distance

SAMPLES = Path(__file__).parents[3] / "samples"
FILE = SAMPLES / "gradient.png"
IMAGE, SOUND = Part("image", str(FILE)), Part("audio", str(SAMPLES / "rising-chirp.wav"))
TEXT, MORE = Part("text", "What is it?"), Part("text", "Look: ")
NEWLINES = 265


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return seeing(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def backend(checkpoint):
    return Backend.load(checkpoint, "float32", prompt="libmtmd")


def encoded(preprocessor, *said):
    """Ids of a conversation in which user and model take turns."""
    roles = ("user", "model", "user")
    return preprocessor.encode(
        [preprocessor.turn(Message(role, what)) for role, what in zip(roles, said, strict=False)]
    )


@pytest.mark.parametrize(
    "said",
    [
        [(TEXT,)],
        [(IMAGE, TEXT)],
        [(MORE, IMAGE, TEXT, IMAGE, IMAGE)],
        [(TEXT,), (MORE,), (IMAGE,)],
    ],
    ids=("text", "picture", "pictures", "turns"),
)
def test_ids_are_the_processors_without_newlines(said, backend, checkpoint, monkeypatch):
    """The same texts in the same template, each cut at its pictures, behind one token that begins it."""
    found, true = encoded(backend._preprocessor, *said), encoded(Preprocessor(checkpoint), *said)
    monkeypatch.setattr(MediaTokens, "block", property(lambda self: f"{self.begin}{self.soft * self.count}{self.end}"))
    assert found == encoded(Preprocessor(checkpoint), *said)
    pictures = sum(part.kind == "image" for what in said for part in what)
    assert (found == true) == (pictures == 0)
    assert found.count(backend._program.config.image_token_id) == TOKENS * pictures


def test_a_row_goes_on_with_its_own_ids(backend, checkpoint):
    """Whatever number was given: what is computed is what llama.cpp's users get."""
    told = {}

    def hear(name, value):
        if name in ("processor.token_ids", "text.input_ids"):
            told[name] = np.asarray(value)
        return value

    given = np.array([encoded(Preprocessor(checkpoint), (IMAGE, TEXT))])
    backend.begin()
    logits = backend.forward(given, prompts=((IMAGE, TEXT),), tap=ScopedTap(hear))
    assert logits.shape[1] == given.shape[1] - 2
    np.testing.assert_array_equal(told["text.input_ids"], told["processor.token_ids"])
    assert (given == NEWLINES).sum() == 2
    assert (told["text.input_ids"] == NEWLINES).sum() == 0
    backend.begin()
    assert distance(logits, backend.forward(told["text.input_ids"], prompts=((IMAGE, TEXT),))) == 0


def test_a_conversation_of_pictures(backend):
    """Ids that were read are those that the next turn begins with, so that the rest alone is read."""
    messages = [Message("user", (IMAGE, TEXT))]
    said = "".join(backend.generate(messages, Sampling(max_tokens=4)))
    seen = len(backend._dialogue._seen)
    messages += [Message("model", (Part("text", said),)), Message("user", (TEXT,))]
    list(backend.generate(messages, Sampling(max_tokens=1)))
    assert backend._program._read == len(backend._dialogue._seen) > seen > TOKENS


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ((SOUND, TEXT), "libmtmd takes no sound of Gemma 3n: leave prompt=libmtmd out"),
        ((IMAGE, Part("text", "a <__media__>")), "text contains <__media__>, which stands for a picture"),
        ((Part("text", "<__media__>"),), "text contains <__media__>"),
    ],
)
def test_what_cannot_be_cut(said, reason, backend):
    with pytest.raises(UsageError, match=reason):
        encoded(backend._preprocessor, said)


def test_other_pictures_are_not_libmtmds():
    """Told at once, and not with the first picture."""
    with pytest.raises(UsageError, match="pictures of 192 by 192, there squares of a multiple of 256"):
        Backend.load(path(), "float32", prompt="libmtmd")


def alike():
    """The reference's variants by which it errs as llama.cpp does with a picture that libmtmd sees."""
    known = (name for deviation in DEVIATIONS for name in deviation.alike(PICTURE))
    return "+".join(("prompt-newlines", "vision-gelu-half-table", "vision-half-pixels", *known))


def test_the_reference_without_newlines_has_as_many_ids(checkpoint):
    """A scenario that a varied reference makes has the ids that it computes with."""
    reference = Reference.load(checkpoint, "float32")
    lengths = []
    for variants in ([], [("prompt-newlines", EVERYWHERE)]):
        reference.vary(variants)
        lengths += [reference.scenario(name, "Why?", (IMAGE,)).chunks[0].length for name in ("cached", "generate")]
    assert lengths[2:] == [length - 2 for length in lengths[:2]]


@pytest.mark.slow
@pytest.mark.parametrize("edited", every_change([False, True], False), ids=("as it is", "alike"))
def test_missing_newlines_are_found_and_named(edited, checkpoint, parity):
    """At the ids and by name; what follows is of another length, and none of it its own. Edited alike: parity."""
    reference = [f"--reference=transformers@variant={alike()}:at=*"] if edited else []
    code, out, _ = parity("compare", "--model", checkpoint, "--candidates", "llama-cpp@prompt=libmtmd", "--scenario",
                          "one-shot", "--image", FILE, "--prompt", "What is it?", "--json", *reference)  # fmt: skip
    (judgement,) = json.loads(out)["judgements"]
    origins = {
        step["step"]: step["status"] for step in judgement["steps"] if step["status"] in ("introduced", "contract")
    }
    if edited:
        assert (code, origins) == (ExitCode.PARITY, {})
        return
    assert code == ExitCode.DIVERGED
    assert judgement["first_divergence"]["step"] == "processor.token_ids"
    assert {name.partition(".")[0] for name in origins} == {"processor", "vision"}
    first, *_ = judgement["diagnoses"]
    assert (first["step"], [cause["name"] for cause in first["causes"]]) == ("processor.token_ids", ["prompt-newlines"])
