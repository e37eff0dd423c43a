"""Packages of others: each way in which they differ loads and is judged at its borders, and faults are found there."""

from __future__ import annotations

from itertools import chain, combinations

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from implementations.onnx import Backend
from implementations.onnx.command import export
from implementations.onnx.package.folder import AUDIO, DECODER, VISION
from parity.errors import ExitCode, UsageError
from parity.judging.baseline import judged
from parity.judging.verdict import Status
from tests.harness import require_parity
from tests.implementations.onnx.published import DECODERS, ENCODERS, OWNERS, masked, one_based, write_published
from tests.implementations.onnx.test_onnx_media import cap, shortcut_alone
from tests.implementations.onnx.test_onnx_parity import FAULTS
from tests.implementations.test_media_parity import BEEPS, PICTURE
from tests.marks import every_change

pytestmark = pytest.mark.slow

BORDERS = {
    "text.input_ids",
    "text.per_layer_inputs.token",
    "text.inputs_embeds",
    "text.logits",
    *(f"text.layers.{layer}.attn.{what}" for layer in range(OWNERS) for what in ("keys", "values")),
}
"""Of text."""
SHOWN = "a weight scaled".__ne__
"""A norm follows at once, which divides by the scale: nothing behind it differs."""
OFTEN = ("an epsilon", "another donor", "a cap", "the past behind")
"""Of those of `test_onnx_parity`: in a layer with keys of its own and without, behind all layers, in a cache."""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The embedded checkpoint's own."""
    folder = tmp_path_factory.mktemp("exported") / "package"
    assert export("tiny", folder) == 0
    return folder


@pytest.fixture
def published(package, tmp_path):
    """Loads a package that differs in some ways."""

    def load(decoder=(), audio=()):
        folder = write_published(package, tmp_path / "published", [*decoder], [*audio])
        first = "1" if one_based in decoder else "0"
        return Backend.load(folder, "float32", package=str(folder), first_position=first, threads="1")

    return load


@pytest.fixture(scope="module")
def heard(harness):
    """Judges a package on a picture and a sound before a question."""
    scenario = harness.oracle.scenario("one-shot", "What is it?", (PICTURE, BEEPS))
    oracle = harness.trace(harness.oracle, "float64", scenario=scenario)
    baseline = harness.against(oracle, "float32")
    return lambda one: judged(oracle=oracle, baseline=baseline, candidate=harness.runs(one, "float32", oracle))[0]


def subsets(ways):
    """Every combination."""
    return chain.from_iterable(combinations(ways, count) for count in range(len(ways) + 1))


def seen(judgement):
    """Names of the steps that were compared."""
    return {verdict.key.step for verdict in judgement.steps if verdict.status is not Status.HIDDEN}


@pytest.mark.parametrize("ways", subsets(DECODERS), ids=" and ".join)
def test_a_decoder_in_every_way(ways, published, harness):
    """In chunks, one of which is longer than the window; keys and values go on whole."""
    judgement = harness.judge(published([DECODERS[way] for way in ways]), "float32", "chunked")
    require_parity(judgement)
    assert seen(judgement) == BORDERS


@pytest.mark.parametrize("scenario", ["batch", "long"])
def test_a_mask_says_what_is_padding(scenario, published, harness):
    """Rows of unequal length; and a window that is behind a cache that is whole, which nothing has cut."""
    require_parity(harness.judge(published([masked]), "float32", scenario))


def test_padding_that_nobody_can_be_told_of(published):
    with pytest.raises(UsageError, match=r"decoder_model_merged.onnx takes no attention_mask, so that it sees padding"):
        published().start(padding=(0, 2), cache=True)


@pytest.mark.parametrize("ways", subsets(ENCODERS), ids=" and ".join)
def test_an_encoder_of_sounds_in_every_way(ways, published, heard):
    """A picture is beside it, and a clip is shorter than the prompt's places."""
    judgement = heard(published(audio=[ENCODERS[way] for way in ways]))
    require_parity(judgement)
    wanted = {"vision.pixels", "embed_vision.soft", "audio.mel", "embed_audio.soft_tokens"}
    assert seen(judgement) >= BORDERS | wanted


def behind(step):
    """The first step that shows what a fault did at `step`."""
    parts = step.split(".")
    if parts[1] != "layers" or (step.endswith("attn.keys") and int(parts[2]) < OWNERS):
        return {step}
    layer = int(parts[2]) + 1
    return {"text.logits"} if layer >= OWNERS else {f"text.layers.{layer}.attn.{what}" for what in ("keys", "values")}


@pytest.mark.parametrize("fault", every_change(filter(SHOWN, FAULTS), *OFTEN))
def test_a_fault_is_found_at_the_next_border(fault, published, harness):
    """Which is its layer, or the one behind it."""
    plant, scenario, step = FAULTS[fault]
    backend = published([masked])
    right = backend._program.graphs[DECODER]
    plant(right.model.graph, right._folder)
    judgement = harness.judge(backend, "float32", scenario)
    assert judgement.exit_code is ExitCode.DIVERGED
    assert judgement.first_divergence.step in behind(step)


@pytest.mark.parametrize(
    ("graph", "plant", "step"),
    [(AUDIO, cap, "embed_audio.soft_tokens"), (VISION, shortcut_alone, "embed_vision.soft")],
)
def test_a_fault_of_an_encoder_is_found_at_its_end(graph, plant, step, published, heard):
    """And no later step errs: the decoder begins from true soft tokens."""
    backend = published()
    plant(backend._program.graphs[graph].model.graph)
    judgement = heard(backend)
    assert judgement.exit_code is ExitCode.DIVERGED
    assert {found.step for found in judgement.introduced} == {step}
