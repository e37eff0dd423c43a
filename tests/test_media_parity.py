"""Pictures and sounds through the whole model: each implementation against the reference."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from parity.discovery import find
from parity.errors import ExitCode, UsageError
from parity.judge import judge
from parity.media import Part
from reference.media_scenarios import WITH_MEDIA

SAMPLES = Path(__file__).parents[1] / "samples"
PICTURE = Part("image", str(SAMPLES / "three-blue-squares.png"))
GRADIENT = Part("image", str(SAMPLES / "gradient.png"))
"""Every row and column is different, so that height and width cannot be swapped unseen."""
CHIRP = Part("audio", str(SAMPLES / "rising-chirp.wav"))
BEEPS = Part("audio", str(SAMPLES / "three-high-beeps.wav"))

MEDIA = {
    "a picture": (GRADIENT,),
    "a sound": (CHIRP,),
    "two pictures": (PICTURE, GRADIENT),
    "a picture and two sounds": (PICTURE, CHIRP, BEEPS),
}


@pytest.fixture(scope="module")
def mlx(harness):
    """The MLX model, loaded once per dtype."""
    return functools.cache(functools.partial(find("mlx").load, harness.checkpoint))


@pytest.fixture(scope="module")
def run(harness, mlx):
    """Judges MLX with media, the reference run once for each case."""

    @functools.cache
    def oracle(scenario, media):
        plan = harness.oracle.scenario(scenario, "What is it?", media)
        return harness.trace(harness.oracle, "float64", scenario=plan)

    def judged(scenario, media, dtype):
        true = oracle(scenario, media)
        baseline = harness.runs(harness.baseline(dtype), dtype, true)
        return judge(oracle=true, baseline=baseline, candidate=harness.runs(mlx(dtype), dtype, true))

    return judged


@pytest.mark.parametrize("media", MEDIA)
def test_mlx(media, run):
    """Every step covered, none introduced, worst ratio at most 4 floors, exit 0."""
    require_parity(run("one-shot", MEDIA[media], "float32"))


@pytest.mark.parametrize("scenario", [name for name in WITH_MEDIA if name not in ("one-shot", "cached")])
def test_mlx_in_every_schedule(scenario, run):
    require_parity(run(scenario, (PICTURE, CHIRP), "float32"))


def test_mlx_bfloat16(run):
    require_parity(run("one-shot", (GRADIENT, BEEPS), "bfloat16"))


def test_a_picture_that_is_read_sideways_is_found(run, monkeypatch):
    """Rows and columns swapped in preprocessing: the processor's pixels say so."""
    from implementations.gemma3n import inputs

    right = inputs.pixel_batch
    monkeypatch.setattr(
        inputs, "pixel_batch", lambda images, **given: right(images, **given).swapaxes(2, 3) if images else None
    )
    judgement = run("one-shot", (GRADIENT,), "float32")
    assert judgement.exit_code is ExitCode.DIVERGED
    assert judgement.first_divergence.step == "vision.pixels"
    assert len(judgement.introduced) == 1


def test_a_sound_that_is_not_merged_is_found(run, monkeypatch):
    from implementations.mlx import model

    right = model.filled
    calls = iter(range(99))
    monkeypatch.setattr(
        model, "filled", lambda embedded, places, soft: embedded if next(calls) % 2 else right(embedded, places, soft)
    )
    judgement = run("one-shot", (PICTURE, CHIRP), "float32")
    assert judgement.first_divergence.step == "text.merged.audio"


def test_schedules_that_media_cannot_run_in_are_refused(harness):
    with pytest.raises(UsageError, match="not for pictures and sounds"):
        harness.oracle.scenario("chunked", "What?", (PICTURE,))


def require_parity(judgement):
    """Exit 0 with everything covered."""
    assert not judgement.missing
    assert judgement.first_divergence is None, judgement.first_divergence
    assert judgement.worst.ratio <= 4
    assert judgement.exit_code is ExitCode.PARITY
