"""Preprocessing against its oracle: what is as right as the reference is at parity, and what is wrong is found."""

from __future__ import annotations

import functools
import io
from contextlib import nullcontext

import numpy as np
import PIL.Image
import pytest
import scipy.fft
import soundfile

from implementations.gemma3n.preprocessing import image, inputs, mel
from implementations.gemma3n.preprocessing.preprocessor import Preprocessor
from parity import backend
from parity.contract import Contract
from parity.errors import UsageError
from parity.host_tensors import HostTensors
from parity.judging.judge import judge
from parity.media import Part
from parity.running.execute import Run, execute
from parity.scenario import Chunk, Scenario
from parity.tap import SILENT
from parity.traces.measure import beyond_a_level
from parity.traces.runs import Runs
from parity.traces.trace import Trace
from reference import tiny
from reference.common.host_arithmetics import Instead
from reference.gemma3n.steps.inputs import EXTRACTOR, INPUT_STEPS
from tests.by_hand import MadeByHand

pytest.importorskip("transformers", reason="needs the [hf] extra")

CONTRACT = Contract("gemma3n's processor", INPUT_STEPS, logits="")
PLACES = (32, (2, 2, 4))
"""Soft tokens of a clip in the embedded checkpoint, and the strides that make 16 frames one: 512 frames, 5.15 s."""


def picture(width, height, mode="RGB", orientation=1, seed=0):
    """A PNG of rings, an edge and some noise: what a photograph has."""
    rows, columns = np.mgrid[:height, :width]
    rings = 0.5 + 0.4 * np.cos((rows**2 + columns**2) / (3 * max(width, height)))
    noise = np.random.default_rng(seed).uniform(0, 0.1, (height, width, 4))
    shown = np.clip(rings[..., None] * (columns > width // 3)[..., None] + noise, 0, 1)
    if mode == "I;16":
        made = PIL.Image.fromarray(np.rint(65535 * shown[..., 0]).astype(np.uint16))
    else:
        made = PIL.Image.fromarray(np.rint(255 * shown).astype(np.uint8)).convert(mode)
    exif, file = PIL.Image.Exif(), io.BytesIO()
    exif[0x112] = orientation
    made.save(file, "PNG", exif=exif)
    return file.getvalue()


def sound(seconds, rate=16_000, channels=1, loudness=0.3, seed=0):
    """A WAV of 16 bits: in each channel another rising tone, with noise; beyond full scale it is clipped."""
    time = np.arange(round(seconds * rate))[:, None] / rate
    tone = np.sin(2 * np.pi * time * (300 + 900 * time + 700 * np.arange(channels)))
    noise = 0.03 * np.random.default_rng(seed).standard_normal((len(time), channels))
    file = io.BytesIO()
    soundfile.write(file, np.clip(loudness * (tone + noise), -1, 1), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


PICTURES = {
    "as large": picture(192, 192),
    "a row": picture(300, 1),
    "a column": picture(1, 250),
    "a pixel": picture(1, 1),
    "small": picture(37, 53),
    "portrait": picture(211, 403),
    "landscape": picture(640, 481),
    "one axis": picture(192, 333),
    "grey": picture(250, 201, "L"),
    "with alpha": picture(140, 260, "RGBA"),
    "with a palette": picture(222, 150, "P"),
    "black and white": picture(384, 384, "1"),
    "16 bits": picture(230, 170, "I;16", orientation=8),
    "turned": picture(260, 180, orientation=6),
    "mirrored": picture(150, 280, orientation=5),
}
SOUNDS = {
    "as fast": sound(1),
    "8 kHz": sound(0.9, 8_000),
    "11 kHz": sound(0.5, 11_025),
    "22 kHz stereo": sound(0.6, 22_050, 2),
    "44 kHz stereo": sound(0.7, 44_100, 2),
    "48 kHz": sound(0.8, 48_000),
    "one frame": sound(0.033),
    "silence": sound(0.5, loudness=0.0),
    "clipped": sound(0.6, 44_100, loudness=4.0),
}
MEDIA = PICTURES | SOUNDS
RESIZED, TONE = "landscape", "22 kHz stereo"


class Processor(MadeByHand, backend.Reference):
    """The steps before a model, as a backend of their own; `make` emits them."""

    name = "processor"
    dtypes = ("float64", "float32", "bfloat16")
    tensors = HostTensors()

    def __init__(self, make):
        self._make = make

    def contract(self):
        return CONTRACT

    def scenario(self, name, prompt, media=()):
        raise NotImplementedError

    def forward(self, token_ids, *, prompts=(), tap):
        self._make(prompts, tap=tap)
        return np.zeros((*token_ids.shape, 1))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Judges a way to preprocess, given what to say to it and the arithmetic; the reference runs once for each."""
    from reference.common.processing import Processing

    folder = tmp_path_factory.mktemp("preprocessing")
    true, plain = (Processor(Processing(tiny.path(), EXTRACTOR, PLACES, exact=exact)) for exact in (True, False))
    ours = Processor(Preprocessor(tiny.path()).batch)

    def traced(party, output, dtype, mode="free", **given):
        run = Run(output, "embedded", "weights", dtype, mode, **given)
        execute(party, run, lambda step: None)
        return Trace.read(output)

    @functools.cache
    def oracle(name):
        file = folder / f"{name}{'.wav' if name in SOUNDS else '.png'}"
        file.write_bytes(MEDIA[name])
        prompt = (Part("audio" if name in SOUNDS else "image", str(file)), Part("text", "What is it?"))
        scenario = Scenario("one-shot", (Chunk("prefill", ((2,),), (prompt,)),), cache=False)
        return traced(true, folder / name / "oracle", "float64", scenario=scenario)

    @functools.cache
    def baseline(name, dtype):
        return lockstep(plain, name, dtype, "baseline")

    def lockstep(party, name, dtype, called):
        output = folder / name / dtype / called
        return Runs(None, traced(party, output, dtype, "lockstep", oracle=oracle(name).path))

    def judged(name, dtype="float32", candidate=ours):
        given = oracle(name), baseline(name, dtype)
        count = sum(1 for _ in (folder / name / dtype).iterdir())
        return judge(
            oracle=given[0], baseline=given[1], candidate=lockstep(candidate, name, dtype, f"candidate {count}")
        )

    judged.oracle = oracle
    judged.reference = lambda execution: Processor(_of(Processing(tiny.path(), EXTRACTOR, PLACES), execution))
    return judged


def _of(processing, execution):
    processing.execution = execution
    return processing


def kinds(name):
    """What a chunk with that picture or sound holds."""
    return ("audio",) if name in SOUNDS else ("image",)


@pytest.fixture
def afresh():
    """The window is made when it is needed, and not kept for others."""
    kept = mel.hann.cache_clear
    kept()
    yield
    kept()


def wrong(judgement):
    """The steps that are not within their floors."""
    return [verdict.step for verdict in judgement.steps if verdict.status.diverged]


@pytest.mark.parametrize("name", MEDIA)
def test_our_preprocessing_is_at_parity(run, name):
    judgement = run(name)
    assert not wrong(judgement)
    assert {verdict.step for verdict in judgement.steps} == {
        step.name for step in CONTRACT.expected(("prompt", *kinds(name)))
    }


@pytest.mark.parametrize("name", MEDIA)
def test_the_reference_is_as_right_in_other_steps(run, name):
    """At another loudness, and with levels rounded at random to one of the nearest two."""
    assert not wrong(run(name, candidate=run.reference("blocked")))


def test_the_oracles_preprocessing_is_in_float64(run):
    """Nothing that may be off by a rounding is kept in less."""
    for name in (RESIZED, TONE):
        oracle = run.oracle(name)
        made = {key.step: record.dtype for key, record in oracle.records.items()}
        assert {made[step.name] for step in INPUT_STEPS if step.kind == "float" and step.name in made} == {"float64"}


def test_the_oracles_mel_is_what_mathematics_says(run):
    """In eighty bits, from the oracle's own waveform, with a transform that is written out."""
    oracle, wide = run.oracle(TONE), np.longdouble
    tensors = {key.step: oracle.tensor(key) for key in oracle.records}
    waveform = tensors["processor.waveform"][0].astype(wide)
    turn = 2 * np.arccos(wide(-1))
    samples, frequencies = np.arange(512, dtype=wide), np.arange(513, dtype=wide)
    window = (1 - np.cos(turn * samples / 512)) / 2
    angles = turn * ((np.arange(513)[:, None] * np.arange(512)) % 1024) / wide(1024)
    ends = 2595 * np.log10(1 + np.array([125, 7600], wide) / 700)
    corners = 700 * (10 ** (np.linspace(*ends, 130, dtype=wide) / 2595) - 1)
    hertz = frequencies[:, None] * wide(16_000 / 1024)
    rising, falling = ((hertz - corners[:-2]) / np.diff(corners)[:-1], (corners[2:] - hertz) / np.diff(corners)[1:])
    filters = np.maximum(0, np.minimum(rising, falling))
    for frame in (0, 20, 50):
        part = waveform[160 * frame : 160 * frame + 512]
        emphasised = window * (part - wide(0.97) * np.concatenate([part[:1], part[:-1]]))
        magnitudes = np.hypot(np.cos(angles) @ emphasised, np.sin(angles) @ emphasised)
        expected = np.log(np.maximum(magnitudes @ filters, wide(1e-5)))
        np.testing.assert_allclose(tensors["processor.mel"][0, frame], expected.astype(float), rtol=1e-10)


def test_the_oracles_pixels_are_the_exact_average_rounded_once(run):
    """Weights are triangles, one axis after the other; values are multiples of 1/255."""
    from implementations.gemma3n.preprocessing.resize import triangles

    oracle = run.oracle(RESIZED)
    levels = next(oracle.tensor(key)[0] for key in oracle.records if key.step == "processor.pixels") * 255
    shown = np.asarray(PIL.Image.open(io.BytesIO(PICTURES[RESIZED])), float)
    for axis in (0, 1):
        starts, weights = triangles(shown.shape[axis], 192)
        taps = np.minimum(starts[:, None] + np.arange(weights.shape[1]), shown.shape[axis] - 1)
        shown = np.moveaxis(np.einsum("ot,ot...->o...", weights, np.moveaxis(shown, axis, 0)[taps]), 0, axis)
    assert np.abs(levels - np.rint(levels)).max() < 1e-12
    assert np.abs(np.moveaxis(levels, 0, -1) - shown).max() < 0.5 + 1e-9


def test_of_a_difference_one_level_is_left_out():
    left = beyond_a_level(np.array([0, 1, -1, 2, 0.4, -1.3, -3]) / 255, 1 / 255)
    np.testing.assert_allclose(left * 255, [0, 0, 0, 1, 0.4, -0.3, -2], atol=1e-12)


def scipys(frames, axis):
    return scipy.fft.rfft(frames, axis=axis)


def wide_angles(length):
    """The periodic Hann window, rounded to float32 at the end alone."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


def narrow_angles(length):
    """The periodic Hann window, each angle a multiple of a rounded one."""
    return np.float32(0.5) - np.float32(0.5) * np.cos(
        np.arange(length, dtype=np.float32) * np.float32(2 * np.pi / length)
    )


def pillows(read, size, *, height, width):
    """Pillow's resampling, with weights of 22 bits instead of 16."""
    shown = PIL.Image.fromarray(read(0, size[0])).resize((width, height), PIL.Image.Resampling.BILINEAR)
    return np.moveaxis(np.asarray(shown), -1, 0)


def torchs(read, size, *, height, width, rounded=True):
    """Resampling in float32, rounded once."""
    import torch

    given = torch.from_numpy(np.moveaxis(read(0, size[0]), -1, 0).astype(np.float32))[None]
    made = torch.nn.functional.interpolate(given, (height, width), mode="bilinear", antialias=True)[0].numpy()
    return np.rint(made) if rounded else made


RIGHT = {
    "another library's transform": (mel, "np", Instead(np, fft=Instead(np.fft, rfft=scipys))),
    "all in float64": (mel, "np", Instead(np, float32=np.float64)),
    "a window from exact angles": (mel, "hann", wide_angles),
    "a window from rounded angles": (mel, "hann", narrow_angles),
    "Pillow's resampling": (image, "resize", pillows),
    "resampling in float32": (image, "resize", torchs),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("way", RIGHT)
@pytest.mark.usefixtures("afresh")
def test_another_right_way_is_not_accused(run, monkeypatch, way, dtype):
    module, name, other = RIGHT[way]
    monkeypatch.setattr(module, name, other)
    for media in PICTURES if module is image else SOUNDS:
        assert not wrong(run(media, dtype)), media


def symmetric(length):
    return np.hanning(length).astype(np.float32)


def louder(right):
    return lambda *given: right(*given) * np.float32(1.01)


def by_256(right):
    return lambda *given: right(*given) * np.float32(255 / 256)


def moved(right):
    return lambda *given: np.roll(right(*given), 1, -1)


WRONG = {
    "a symmetric window": (mel, "hann", symmetric, TONE),
    "one hundredth too much": (inputs, "log_mel", louder(inputs.log_mel), TONE),
    "levels that are not rounded": (image, "resize", functools.partial(torchs, rounded=False), RESIZED),
    "levels / 256": (image, "pixel_values", by_256(image.pixel_values), RESIZED),
    "levels / 256 of a picture of the right size": (image, "pixel_values", by_256(image.pixel_values), "as large"),
    "a column too far right": (image, "pixel_values", moved(image.pixel_values), RESIZED),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("way", WRONG)
@pytest.mark.usefixtures("afresh")
def test_a_wrong_way_is_found_whatever_the_models_arithmetic(run, monkeypatch, way, dtype):
    module, name, other, media = WRONG[way]
    monkeypatch.setattr(module, name, other)
    step = "processor.mel" if media in SOUNDS else "processor.pixels"
    assert wrong(run(media, dtype)) == [step]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_a_picture_without_a_known_white_is_refused(tmp_path, mode):
    """By the reference as by ours: clipped, it would be almost white."""
    from reference.common.processing import Processing

    file = tmp_path / "deep.tiff"
    PIL.Image.fromarray(np.full((9, 9), 70_000, np.int32 if mode == "I" else np.float32)).save(file)
    prompt = ((Part("image", str(file)),),)
    for make in (Processing(tiny.path(), EXTRACTOR, PLACES), Preprocessor(tiny.path()).batch):
        with pytest.raises(UsageError, match="no known white"):
            make(prompt, tap=SILENT)


@pytest.mark.parametrize(("samples", "said"), [(82_432, ""), (82_433, "5.15 s;"), (496_000, "31.00 s;")])
def test_lengths_and_limits_are_the_same_in_both(tmp_path, samples, said):
    """A clip that one takes the other takes, and of one that is too long both say the same."""
    from reference.common.processing import Processing

    soundfile.write(file := tmp_path / "clip.wav", np.zeros(samples), 16_000)
    prompt, told = ((Part("audio", str(file)),),), []
    for make in (Processing(tiny.path(), EXTRACTOR, PLACES), Preprocessor(tiny.path()).batch):
        with pytest.raises(UsageError) if said else nullcontext() as refused:
            make(prompt, tap=SILENT)
        told.append(str(refused.value) if said else "")
    assert told[0] == told[1]
    assert f"audio {file}: {said} this checkpoint takes at most 5.15 s (32 soft tokens)" == told[0] or not said
