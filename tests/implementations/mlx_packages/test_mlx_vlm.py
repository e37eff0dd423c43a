"""The installed mlx-vlm, woven: what it gets wrong, that nothing else is wrong, and that it is left as it was."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest

mx = pytest.importorskip("mlx.core")
mlx_vlm = pytest.importorskip("mlx_vlm")

from transformers import AutoProcessor  # noqa: E402  # behind importorskip

from implementations.mlx.operations.blas import adds_in_order  # noqa: E402
from implementations.mlx_packages.at import At  # noqa: E402
from implementations.mlx_packages.patch import Patch, edits_of  # noqa: E402
from implementations.mlx_vlm import Backend, sites  # noqa: E402
from implementations.mlx_vlm.imports import utils  # noqa: E402
from implementations.mlx_vlm.loading import load_model  # noqa: E402
from implementations.mlx_vlm.patches import PATCHES  # noqa: E402
from implementations.mlx_vlm.preparation import Preparation  # noqa: E402
from parity.errors import BackendUnavailable, ExitCode, UsageError  # noqa: E402
from parity.fault import chosen  # noqa: E402
from parity.judging.baseline import judged as judged_by  # noqa: E402
from parity.judging.verdict import Status  # noqa: E402
from parity.media import Part  # noqa: E402
from parity.scenario import Chunk, Scenario  # noqa: E402
from parity.site import Edit  # noqa: E402
from parity.tap import SILENT, ScopedTap  # noqa: E402
from parity.weave import resolve, weave  # noqa: E402
from reference.common.media_schedules import WITH_MEDIA  # noqa: E402
from reference.common.schedules import decode_steps  # noqa: E402
from reference.gemma3n.scenarios import MEANINGS  # noqa: E402
from tests.third_party_page import require_documented  # noqa: E402

SAMPLES = Path(__file__).parents[3] / "samples"
GRADIENT = Part("image", str(SAMPLES / "gradient.png"))
"""Every row and column is different."""
SQUARES = Part("image", str(SAMPLES / "three-blue-squares.png"))
CHIRP = Part("audio", str(SAMPLES / "rising-chirp.wav"))
BEEPS = Part("audio", str(SAMPLES / "three-high-beeps.wav"))
QUESTION = Part("text", "What is it?")

IDS = np.array([[2, 40, 41, 300, 77, 9, 411, 12]])
NEEDED = ("vision-geometry", "begin-twice", "audio-behind-text")
"""Without these the checkpoint cannot be loaded, or a prompt has other tokens than the reference's."""
NAMED = {patch.name: patch for patch in PATCHES}


def patched(checkpoint, patches):
    """mlx-vlm in float32, with faults mended or planted."""
    return Backend(load_model(checkpoint, "float32", patches), checkpoint, patches)


def without(*names):
    """All patches but these."""
    return tuple(patch for patch in PATCHES if patch.name not in names)


def planted(function, old, new):
    """All faults mended and a new one."""
    return (*PATCHES, Patch(name="planted", edits=(Edit(function, old, new),)))


def introduced(judgement):
    """Names of the steps whose fault is their own."""
    return {step.step for step in judgement.introduced}


def of(patch, steps):
    """Those of the steps that a fault's entry names."""
    return {step for step in steps if any(fnmatchcase(step, pattern) for pattern in patch.steps)}


@pytest.fixture(scope="module")
def mended(harness):
    """All proven faults mended."""
    return Backend.load(harness.checkpoint, "float32", patch="all")


@pytest.fixture(scope="module")
def with_media(harness):
    """Judges a candidate with media."""
    return lambda candidate, media, scenario="one-shot": harness.judge(
        candidate, "float32", scenario, QUESTION.value, media
    )


def require_parity(judgement):
    """Nothing is left unexplained."""
    assert judgement.exit_code is ExitCode.PARITY, judgement.first_divergence
    assert judgement.worst.ratio <= 4
    assert not judgement.missing
    hidden = {step.step for step in judgement.steps if step.status is Status.HIDDEN}
    assert hidden == {"text.position_ids", *(f"text.rope.{kind}_attention.inv_freq" for kind in ("full", "sliding"))}


def exhaustive(*cases):
    """Cases that take long together."""
    return [pytest.param(*case, marks=pytest.mark.exhaustive) for case in cases]


@pytest.mark.parametrize("scenario", ["one-shot", *exhaustive(*((name,) for name in MEANINGS if name != "one-shot"))])
def test_mended_it_is_at_parity(scenario, mended, harness):
    """With every proven fault mended nothing is left unexplained, in any scenario."""
    require_parity(harness.judge(mended, "float32", scenario))


@pytest.mark.slow
@pytest.mark.parametrize(
    "media", [(GRADIENT, CHIRP), *exhaustive(((GRADIENT,),), ((CHIRP,),), ((SQUARES, GRADIENT),), ((CHIRP, BEEPS),))]
)
def test_mended_it_sees_and_hears(media, mended, with_media):
    """Pictures and sounds, from their files to the logits."""
    require_parity(with_media(mended, media))


@pytest.mark.exhaustive
@pytest.mark.parametrize("scenario", [name for name in WITH_MEDIA if name not in ("one-shot", "batch")])
def test_mended_it_goes_on_behind_media(scenario, mended, with_media):
    """Decode steps and a second turn."""
    require_parity(with_media(mended, (GRADIENT, CHIRP), scenario))


@pytest.mark.slow
def test_one_run_lists_all_faults_of_text(harness):
    """Each at its steps, and none that is not known."""
    names = {"embedding-scale", "shared-rotation"}
    found = introduced(harness.judge(patched(harness.checkpoint, without(*names)), "float32", "cached"))
    explained = [of(NAMED[name], found) for name in names]
    assert all(explained)
    assert set().union(*explained) == found
    assert found == {"text.embed_tokens", *(f"text.layers.{layer}.attn.q_rope" for layer in range(20, 25))}


@pytest.mark.exhaustive
def test_one_run_lists_all_faults_of_the_towers(harness, with_media):
    """As installed but for what a prompt's tokens need: each fault at its steps, and none that is not known."""
    candidate = patched(harness.checkpoint, tuple(NAMED[name] for name in NEEDED))
    found = introduced(with_media(candidate, (GRADIENT, CHIRP)))
    unseen = ("magnitude-floor", "coefficients-clipped", "media-ids-as-text", "shared-rotation", "group-norm-epsilon")
    known = without(*NEEDED, *unseen)
    unexplained = found - set().union(*(of(patch, found) for patch in known))
    assert not unexplained
    assert {"vision.soft_tokens", "vision.conv_stem.bn.act", "vision.blocks.0.0.bn1", "text.embed_tokens"} <= found
    assert of(NAMED["strided-padding"], found)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "name", ["strided-padding", "gelu-form", "norm-epsilon", "token-order", "norm-means", "group-sums"]
)
def test_each_fault_of_the_towers_is_found_at_its_steps(name, harness, with_media):
    """All others mended, a fault is introduced at the steps that its entry names, and nowhere else."""
    found = introduced(with_media(patched(harness.checkpoint, without(name)), (GRADIENT, CHIRP)))
    assert found
    assert of(NAMED[name], found) == found


@pytest.mark.parametrize("name", ["kv-without-cache", *exhaustive(("media-ids-as-text",))])
def test_each_fault_of_text_is_found_at_its_steps(name, harness):
    """The same for those that one prompt does not show."""
    scenario = {"kv-without-cache": "one-shot", "media-ids-as-text": "outside"}[name]
    found = introduced(harness.judge(patched(harness.checkpoint, without(name)), "float32", scenario))
    assert found
    assert of(NAMED[name], found) == found


@pytest.mark.slow
def test_rows_of_unequal_length_become_nan(harness):
    """A batch's padding is embedded as zeros, whose streams are rescaled by 0 / 0; mended, each row is as alone."""
    padded = np.array([[0, 0, *IDS[0, :6]], IDS[0]])

    def logits(*missing):
        backend = patched(harness.checkpoint, without(*missing))
        backend.start(padding=(2, 0), cache=True)
        batch = backend.forward(padded)
        backend.start(padding=(0,), cache=True)
        return batch, backend.forward(IDS[:, :6])

    assert np.isnan(logits("magnitude-floor")[0][0]).all()
    batch, alone = logits()
    np.testing.assert_allclose(batch[0, 2:], alone[0], rtol=0, atol=1e-4)


def test_patches_are_chosen_by_name():
    """One, several, all, and all but some; in the order that they have."""
    first, second, *rest = PATCHES
    assert chosen("mlx-vlm", PATCHES, "") == ()
    assert chosen("mlx-vlm", PATCHES, f"{second.name}+{first.name}") == (first, second)
    assert chosen("mlx-vlm", PATCHES, "all") == PATCHES
    assert chosen("mlx-vlm", PATCHES, f"all-{first.name}+{second.name}") == tuple(rest)
    with pytest.raises(UsageError, match="no patch 'nope'"):
        chosen("mlx-vlm", PATCHES, "all-nope")


@pytest.mark.slow
def test_coefficients_are_clipped_at_inference(harness):
    """A clip that is below the weights changes what the model says; mended, it changes nothing."""

    def logits(clip, *missing):
        backend = patched(harness.checkpoint, without(*missing))
        backend._model.language_model.config.altup_coef_clip = clip
        return backend.forward(IDS)

    true = logits(120.0)
    np.testing.assert_array_equal(logits(1e-3), true)
    assert np.abs(logits(1e-3, "coefficients-clipped") - true).max() > 0.1


def test_tokens_of_a_prompt(harness, mended):
    """Two begin tokens, and a sound behind the text; mended, one and before."""

    def ids(*missing):
        with weave((), lambda *given: None, edits_of(without(*missing))):
            found, _ = Preparation(harness.checkpoint, mended._model.config)(((CHIRP, QUESTION),), SILENT)
        return found[0].tolist()

    true, sound = ids(), mended._model.config.audio_token_id
    assert ids("begin-twice") == [true[0], *true]
    moved = ids("audio-behind-text")
    assert sorted(moved) == sorted(true)
    assert moved.index(sound) > true.index(sound)


@pytest.mark.skipif(not adds_in_order(), reason="another BLAS is preloaded, or this is not Linux")
def test_products_of_soft_tokens_are_added_one_after_the_other(harness, mended):
    """The wheel's BLAS errs several times as much as sums of 16 blocks do, on the same soft tokens."""
    soft = np.random.default_rng(0).normal(size=(1, 256, 2048)).astype(np.float32)
    embedder = mended._model.embed_vision
    true = (soft / np.sqrt((soft.astype(np.float64) ** 2).mean(-1, keepdims=True) + embedder.eps)) * np.array(
        embedder.soft_embedding_norm.weight
    )
    true = true @ np.array(embedder.embedding_projection.weight).astype(np.float64).T
    true /= np.sqrt((true**2).mean(-1, keepdims=True) + embedder.eps)

    def error(*missing):
        with weave((), lambda *given: None, edits_of(without(*missing))):
            found = np.array(embedder(inputs_embeds=mx.array(soft)))
        return np.linalg.norm(found - true) / np.linalg.norm(true)

    assert error("product-sums") > 3 * error()


@pytest.mark.exhaustive
def test_batch_with_a_picture_in_each_row_is_taken(harness, mended):
    """Rows of unequal length, each with a picture of its own: at parity; one row without a picture is refused."""
    prompts = ((GRADIENT, QUESTION), (SQUARES, QUESTION, QUESTION))
    rows, padding = harness.oracle._tokens(prompts)
    plan = Scenario("rows", (Chunk("prefill", rows, prompts), *decode_steps(1, 2)), padding)
    oracle = harness.trace(harness.oracle, "float64", scenario=plan)
    baseline, runs = harness.against(oracle, "float32"), harness.runs(mended, "float32", oracle)
    require_parity(judged_by(oracle=oracle, baseline=baseline, candidate=runs)[0])


def _said(model, ids, cache, **options):
    """Logarithms of the probabilities of what `generate_step` says first."""
    from mlx_vlm.generate.ar import generate_step

    step = generate_step(mx.array(ids), model, None, None, prompt_cache=cache, max_tokens=1, **options)
    return np.array(next(step)[1])


def test_warm_per_layer_inputs_are_those_of_the_next_token(harness):
    """Behind a warm cache the package's own prefill differs from one that is not cut; mended it does not."""
    from mlx_vlm.models.cache import make_prompt_cache

    name = "warm-per-layer-inputs"
    model = load_model(harness.checkpoint, "float32", without(name))

    def apart(patches):
        """Between the package's own prefill and one that is not cut, behind a warm cache."""
        said = []
        with weave((), lambda *given: None, edits_of(patches)):
            for options in ({}, {"prefill_step_size": None}):
                cache = make_prompt_cache(model.language_model)
                _said(model, IDS[:, :3], cache, **options)
                said.append(_said(model, IDS[:, 3:], cache, **options))
        return np.abs(said[0] - said[1]).max()

    assert apart(without(name)) > 0.1
    assert apart(PATCHES) < 1e-3


@pytest.mark.parametrize(
    ("fault", "steps"),
    [
        (
            (
                "mlx_vlm.models.gemma3n.language:Gemma3nDecoderLayer.__call__",
                "(attn_gated + laurel_output) * (2.0**-0.5)",
                "(attn_gated + laurel_output)",
            ),
            "text.*.attn_laurel",
        ),
        (
            (
                "mlx_vlm.models.gemma3n.language:Gemma3nAttention.__call__",
                "self.rope(keys, offset=offset)",
                "self.rope(keys, offset=offset + 1)",
            ),
            "text.*.attn.k_rope",
        ),
    ],
)
@pytest.mark.slow
def test_planted_faults_of_text_are_found_at_their_steps(fault, steps, harness):
    """A tap is a two-way port: behind the fault every step starts from the oracle's value, so it alone is found."""
    found = introduced(harness.judge(patched(harness.checkpoint, planted(*fault)), "float32", "cached"))
    assert found
    assert not [step for step in found if not fnmatchcase(step, steps)]


TOWERS = "mlx_vlm.models.gemma3n"


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("fault", "steps"),
    [
        ((f"{TOWERS}.audio:AudioModel.__call__", "mx.where(current_mask", "mx.where(~current_mask"), "audio.out"),
        ((f"{TOWERS}.audio:Gemma3nAudioConformerLightConv1d.__call__", "nn.glu(", "-nn.glu("), "audio.*.glu"),
        ((f"{TOWERS}.vision:MobileAttention.__call__", "+ shortcut", "- shortcut"), "vision.*.out"),
        ((f"{TOWERS}.gemma3n:Model.get_image_features", "hidden_size**0.5", "hidden_size"), "vision.soft_tokens"),
    ],
)
def test_planted_faults_of_the_towers_are_found_at_their_steps(fault, steps, harness, with_media):
    """The same for pictures and sounds."""
    found = introduced(with_media(patched(harness.checkpoint, planted(*fault)), (GRADIENT, CHIRP, BEEPS)))
    assert found
    assert not [step for step in found if not fnmatchcase(step, steps)]


def test_recording_does_not_change_a_bit(mended):
    """Taps that hand values back unchanged leave the logits as they are without taps, decode included."""

    def run(tap):
        mended.start(padding=(0,), cache=True)
        prompt = mended.forward(IDS, prompts=((CHIRP, QUESTION),), tap=tap)
        return [prompt, mended.forward(IDS[:, :1], tap=tap)]

    for silent, recorded in zip(run(SILENT), run(ScopedTap(lambda name, value: value)), strict=True):
        np.testing.assert_array_equal(silent, recorded)


def test_every_step_is_recorded_once_or_hidden(harness, mended):
    """Of the contract nothing is dropped: each step has a tap, or a reason."""
    names = []
    mended.start(padding=(0,), cache=True)
    tap = ScopedTap(lambda name, value: names.append(name) or value)
    mended.forward(IDS, prompts=((GRADIENT, CHIRP, QUESTION),), tap=tap)
    expected = {step.name for step in harness.oracle.contract().expected(("prompt", "image", "audio"))}
    hidden = {name for name in expected if any(fnmatchcase(name, pattern) for pattern in Backend.hidden)}
    assert len(names) == len(set(names))
    assert expected - set(names) == hidden - {"embed_vision.hard", "embed_audio.hard"}
    assert set(names) <= expected


def test_package_and_transformers_are_left_as_they_were(harness):
    """Files keep their bytes, functions their code; the reference's processor stays transformers' own."""

    def state():
        files = sorted(Path(mlx_vlm.__path__[0]).glob("models/gemma3n/*.py"))
        touched = {step.site.function for step in sites.STEPS} | {edit.function for edit in edits_of(PATCHES)}
        codes = {name: resolve(name).__code__ for name in touched}
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files], codes

    before = state()
    backend = Backend.load(harness.checkpoint, "float32", patch="all")
    with pytest.raises(ZeroDivisionError):
        backend.forward(IDS, tap=ScopedTap(lambda name, value: 1 / 0))
    backend.forward(IDS, prompts=((GRADIENT, QUESTION),))
    assert state() == before
    assert type(AutoProcessor.from_pretrained(harness.checkpoint)).__module__.startswith("transformers.")


def test_every_fault_is_in_the_docs_with_its_lines():
    """The page is of this version and these faults, and names the lines that each changes."""
    require_documented(Backend)


def test_what_the_loader_refuses_is_one_line(harness, tmp_path, monkeypatch):
    """Its own words; of a vision tower that it cannot build, how to go on."""
    with pytest.raises(
        BackendUnavailable, match=r"^mlx-vlm \S+ cannot load \S+: ValueError: Expected shape [^\n]+"
    ) as at:
        Backend.load(harness.checkpoint, "float32")
    assert str(at.value).endswith("mlx-vlm@patch=vision-geometry builds the checkpoint's")
    (tmp_path / "config.json").write_text('{"model_type": "other"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(BackendUnavailable, match=r"^mlx-vlm \S+ cannot load \S+: \w+: [^\n]+$"):
        Backend.load(tmp_path, "float32")
    monkeypatch.setattr(utils, "load_model", lambda *_, **__: object())
    with pytest.raises(BackendUnavailable, match="not for a Gemma 3n"):
        Backend.load(tmp_path, "float32")


def test_what_cannot_be_asked_of_it(harness, mended, tmp_path):
    """A dtype, a patch, padding without a cache, a file that is no picture, media in one row of two: a line each."""
    with pytest.raises(UsageError, match="not in int8"):
        Backend.load(harness.checkpoint, "int8")
    with pytest.raises(UsageError, match="mlx-vlm has no patch 'nope'; it has embedding-scale"):
        Backend.load(harness.checkpoint, "float32", patch="moments+nope")
    with pytest.raises(UsageError, match="padded batch"):
        mended.start(padding=(0, 1), cache=False)
    (tmp_path / "a.png").write_bytes(b"no picture")
    mended.start(padding=(0,), cache=True)
    with pytest.raises(BackendUnavailable, match=r"^mlx-vlm cannot prepare the prompt: ValueError: [^\n]+$"):
        mended.forward(IDS, prompts=((Part("image", str(tmp_path / "a.png")), QUESTION),))
    with pytest.raises(BackendUnavailable, match="inconsistently sized batches"):
        mended.forward(IDS, prompts=((GRADIENT, QUESTION), (QUESTION,)))


def test_site_that_a_version_lacks_is_named(harness, monkeypatch):
    """By doctor, and by the error of a load, with the version to install."""
    assert all(good for good, _, _ in Backend.doctor())
    gone = (*sites.STEPS, At("text.new", sites.SOURCE.assigned("LanguageModel.__call__", "renamed")))
    monkeypatch.setattr(sites, "STEPS", gone)
    bad = [(what, found) for good, what, found in Backend.doctor() if not good]
    assert bad == [("LanguageModel.__call__: renamed", f"not in the installed source; {Backend.cure()}")]
    with pytest.raises(BackendUnavailable, match=r"not supported: .* LanguageModel\.__call__: renamed; pip install"):
        Backend.load(harness.checkpoint, "float32")
