"""Sounds, and pictures that libmtmd is not for: rows of another backend's towers stand in their places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
pytest.importorskip("mlx.core")

from implementations.gguf.senses import PICTURES, SOUNDS  # behind importorskip
from parity.errors import UsageError
from parity.judging.baseline import judged
from parity.media import Part
from parity.tap import ScopedTap
from tests.implementations.gguf.alike import deviating
from tests.ports import distance

SAMPLES = Path(__file__).parents[3] / "samples"
PICTURE = Part("image", str(SAMPLES / "gradient.png"))
SOUND = Part("audio", str(SAMPLES / "rising-chirp.wav"))
OTHER = Part("audio", str(SAMPLES / "low-tone.wav"))
TEXT = Part("text", "What is it?")
MADE = {PICTURE: PICTURES, SOUND: SOUNDS}


def told(backend, *prompt):
    """The logits of a prompt, and every step's values: rows are parts of their own, and so is what stands around."""
    seen = {}

    def hear(name, value):
        seen.setdefault(name, []).append(backend.tensors.to_numpy(value, None).copy())
        return value

    backend.start(padding=(0,), cache=True)
    token_ids = backend._preprocessor.batch([prompt], tap=ScopedTap(lambda name, value: value)).token_ids
    return backend.forward(token_ids, prompts=(prompt,), tap=ScopedTap(hear)), seen


@pytest.mark.parametrize("media", MADE.values(), ids=("picture", "sound"))
def test_rows_are_those_of_the_witness(media, load):
    """Of two witnesses, which are two implementations; they enter llama.cpp as they are told."""
    (part,) = (part for part, step in MADE.items() if step == media)
    (one, seen), (other, others) = (told(load(rows=name), part, TEXT) for name in ("mlx", "ane"))
    assert distance(one, other) < 1e-3
    (rows,), (alike,) = seen[media], others[media]
    assert distance(rows, alike) < 1e-5
    before, entered, behind = seen["text.merged.image" if media == PICTURES else "text.merged.audio"]
    np.testing.assert_array_equal(entered, rows)
    assert before.shape[1] > 1 < behind.shape[1]
    assert "text.embed_tokens" not in seen
    assert not any(name.startswith(("vision.", "audio.")) for name in seen)


def test_another_sound_says_something_else(backend):
    """Beside a picture, whose rows stand in the same prompt."""
    one, seen = told(backend, PICTURE, SOUND, TEXT)
    other, _ = told(backend, PICTURE, OTHER, TEXT)
    assert np.isfinite(one).all()
    assert one.shape == other.shape
    assert distance(one, other) > 1e-2
    assert {PICTURES, SOUNDS, "text.merged.audio"} <= seen.keys()
    assert "text.merged.image" not in seen


def test_a_witness_that_hands_out_no_rows(load):
    with pytest.raises(UsageError, match="rows=onnx is none of mlx, ane"):
        load(rows="onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "media"),
    [
        pytest.param("one-shot", (PICTURE,), id="picture"),
        pytest.param("one-shot", (SOUND,), id="sound"),
        pytest.param("one-shot", (PICTURE, SOUND), id="both", marks=pytest.mark.exhaustive),  # as a row of a batch
        pytest.param("batch", (PICTURE, SOUND), id="batch"),
    ],
)
def test_parity_with_the_reference_edited_alike(scenario, media, harness, backend):
    """The whole prompt, from files to logits; what the towers compute inside is hidden, what they give is judged."""
    oracle, baseline = (deviating(harness, dtype, ("media",)) for dtype in ("float64", "float32"))
    true = harness.trace(oracle, "float64", scenario=oracle.scenario(scenario, "What is it?", media))
    floors = harness.against(true, "float32", baseline)
    judgement = judged(oracle=true, baseline=floors, candidate=harness.runs(backend, "float32", true))[0]
    assert judgement.first_divergence is None, judgement.first_divergence
    assert not judgement.missing
    compared = {step.step for step in judgement.steps if step.status != "hidden"}
    assert {MADE[part] for part in media} <= compared
    assert sum(name.startswith("text.") for name in compared) >= 1225
