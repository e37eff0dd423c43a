"""Pictures and sounds through the whole model: each implementation against the reference."""

from __future__ import annotations

import functools
import itertools
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile

from parity.checkpoint import Checkpoint
from parity.discovery import find
from parity.errors import ExitCode, UsageError
from parity.generation import Message, Sampling
from parity.judging.baseline import judged as judged_by
from parity.media import Part
from parity.running.party import Party
from parity.running.progress import Silent
from reference.common.media_schedules import WITH_MEDIA
from tests.harness import NAME, QUESTION, WEIGHTS, require_parity
from tests.marks import every_change, quick

SAMPLES = Path(__file__).parents[2] / "samples"
PICTURE = Part("image", str(SAMPLES / "three-blue-squares.png"))
GRADIENT = Part("image", str(SAMPLES / "gradient.png"))
"""Every row and column is different, so that height and width cannot be swapped unseen."""
CHIRP = Part("audio", str(SAMPLES / "rising-chirp.wav"))
BEEPS = Part("audio", str(SAMPLES / "three-high-beeps.wav"))

BOTH = (GRADIENT, CHIRP)
MEDIA = {
    "a picture": (GRADIENT,),
    "a sound": (CHIRP,),
    "both": BOTH,
    "two pictures": (PICTURE, GRADIENT),
    "a picture and two sounds": (PICTURE, CHIRP, BEEPS),
}


DTYPES = {"mlx": ("float32", "bfloat16"), "ane": ("float32", "float16-ane"), "onnx": ("float32",)}
"""Arithmetics in which each implementation is held to the reference."""
ALONE = ("a picture", "a sound")
"""Each is beside others in the rest of `MEDIA`; sounds without pictures are in `test_lengths`, too."""
SMALL = [(name, dtype) for name, dtypes in DTYPES.items() for dtype in dtypes[1:]]
OPTIONS = {"onnx": {"threads": "1"}}
"""The one thread that the harness sets."""


@pytest.fixture(scope="module")
def load(harness):
    """An implementation, loaded once for each arithmetic and set of options."""

    @functools.cache
    def loaded(name, dtype, **options):
        return find(name).load(harness.checkpoint, dtype, **OPTIONS.get(name, {}), **options)

    return loaded


@pytest.fixture(scope="module")
def worker(harness):
    """A candidate in a process of its own, as the command line runs it: there MLX has an optimised BLAS."""
    checkpoint = Checkpoint(harness.checkpoint, NAME, WEIGHTS)
    with ExitStack() as stack:
        enter = lambda name: stack.enter_context(Party(name, name, progress=Silent()))  # noqa: E731
        yield functools.cache(lambda name, dtype: enter(name).load(checkpoint, dtype))


@pytest.fixture(scope="module")
def run(harness, load, worker):
    """Judges an implementation with media, the reference run once for each case; MLX in a worker, unless `here`."""

    def judged(name, scenario, media, dtype, *, here=False, **options):
        if here or name != "mlx":
            return harness.judge(load(name, dtype, **options), dtype, scenario, QUESTION, media)
        asked = scenario, QUESTION, media
        true, floor = harness.oracle_trace(*asked), harness.measured(dtype, *asked)
        return judged_by(oracle=true, baseline=floor, candidate=harness.runs_of(worker(name, dtype), true))[0]

    return judged


def kinds():
    """Every kind of media for each implementation; what one picture or sound alone shows, several show as well."""
    for media, name in itertools.product(MEDIA, DTYPES):
        often = () if (media, name) == ("both", "mlx") else pytest.mark.slow
        yield pytest.param(media, name, marks=pytest.mark.exhaustive if media in ALONE else often)


@pytest.mark.parametrize(("media", "name"), list(kinds()))
def test_every_kind_of_media(media, name, run):
    require_parity(run(name, "one-shot", MEDIA[media], "float32"))


def schedules():
    """Every further scenario for each implementation; a conversation reads, replies and reads on, as others do."""
    for scenario, name in itertools.product(WITH_MEDIA, DTYPES):
        if scenario not in ("one-shot", "cached"):
            often = (scenario, name) in (("batch", "mlx"), ("batch", "onnx"), ("generate", "ane"))
            yield pytest.param(scenario, name, marks=pytest.mark.slow if often else pytest.mark.exhaustive)


@pytest.mark.parametrize(("scenario", "name"), list(schedules()))
def test_every_schedule(scenario, name, run):
    require_parity(run(name, scenario, BOTH, "float32"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype"), SMALL)
def test_small_arithmetics(name, dtype, run):
    require_parity(run(name, "one-shot", BOTH, dtype))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", every_change(DTYPES["ane"], "float32"))
def test_a_scaled_residual_stream(dtype, run):
    """Soft tokens are merged with alpha, as hard ones are; what is recorded is without it."""
    require_parity(run("ane", "one-shot", BOTH, dtype, alpha="0.125"))


@pytest.mark.slow
def test_soft_tokens_without_alpha_are_found(run, monkeypatch):
    """A merge that forgets it gives eight times the reference's rows."""
    monkeypatch.setattr("implementations.ane.senses.Senses._scaled", lambda self, soft: soft)
    judgement = run("ane", "one-shot", BOTH, "float32", alpha="0.125")
    assert [verdict.step for verdict in judgement.introduced] == ["text.merged.image", "text.merged.audio"]


@pytest.mark.parametrize("name", every_change(DTYPES, "ane"))
def test_a_picture_that_is_read_sideways_is_found(name, run, monkeypatch):
    """Rows and columns swapped in preprocessing, which all have in common: the processor's pixels say so."""
    from implementations.gemma3n.preprocessing import inputs

    right = inputs.pixel_batch
    monkeypatch.setattr(
        inputs, "pixel_batch", lambda images, **given: right(images, **given).swapaxes(2, 3) if images else None
    )
    judgement = run(name, "one-shot", BOTH, "float32", here=True)
    assert judgement.exit_code is ExitCode.DIVERGED
    assert judgement.first_divergence.step == "vision.pixels"
    assert len(judgement.introduced) == 1


MERGING = {
    "mlx": "implementations.mlx.model",
    "ane": "implementations.ane.senses",
    "onnx": "implementations.onnx.senses",
}
"""Where each puts soft tokens in their places."""


@pytest.mark.slow
@pytest.mark.parametrize("name", every_change(MERGING, "onnx"))
def test_a_sound_that_is_not_merged_is_found(name, run, monkeypatch):
    where = pytest.importorskip(MERGING[name])
    right = where.filled
    calls = iter(range(99))
    monkeypatch.setattr(
        where, "filled", lambda embedded, places, soft: embedded if next(calls) % 2 else right(embedded, places, soft)
    )
    judgement = run(name, "one-shot", BOTH, "float32", here=True)
    assert judgement.first_divergence.step == "text.merged.audio"


def test_schedules_that_media_cannot_run_in_are_refused(harness):
    with pytest.raises(UsageError, match="not for pictures and sounds"):
        harness.oracle.scenario("chunked", "What?", (PICTURE,))


def test_a_row_with_more_text_has_it_in_the_same_part(harness):
    """A chat template drops the blanks at the ends of each part, and a package may take one text alone."""
    _, text, longer = harness.oracle.scenario("batch", "What?", (PICTURE,)).chunks[0].prompts
    assert [part.value for part in text] == ["What?"]
    assert [part.value for part in longer[-1:]] == ["What? Say it in one word."]
    assert longer[:-1] == (PICTURE,)


def test_a_sound_that_is_too_long_is_refused(harness, tmp_path):
    """By the reference too, which would crash; just as much as fits is taken."""
    for samples in (512 * 160, 513 * 160 + 512):
        soundfile.write(tmp_path / f"{samples}.wav", np.zeros(samples), 16_000)
    parts = [(Part("audio", str(file)),) for file in sorted(tmp_path.iterdir())]
    assert harness.oracle.scenario("one-shot", "What?", parts[0])
    with pytest.raises(UsageError, match=r"82592\.wav: 5\.16 s; this checkpoint takes at most 5\.15 s"):
        harness.oracle.scenario("one-shot", "What?", parts[1])


@pytest.mark.parametrize("name", quick(["ane", "onnx"], "ane"))
def test_implementations_answer_alike(name, load):
    """Greedy, to a picture and a sound, and to a second question, which goes on behind what was read."""
    first = Message("user", (PICTURE, CHIRP, Part("text", "What is it?")))
    both = [load(of, "float32") for of in ("mlx", name)]
    said, other = ("".join(backend.generate([first], Sampling(max_tokens=8))) for backend in both)
    assert said == other
    assert said
    answer = Message("model", (Part("text", said),))
    second = Message("user", (BEEPS, Part("text", "And this?")))
    again = {"".join(backend.generate([first, answer, second], Sampling(max_tokens=8))) for backend in both}
    assert len(again) == 1
