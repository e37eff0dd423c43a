"""Known bugs in our own towers, ten at once: one lockstep run finds each at its steps, and calls it by its name."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("torch")

from parity.diagnosis.diagnose import diagnose
from parity.diagnosis.matched import Filter
from parity.discovery import find
from parity.judging.judge import judge
from parity.placing import placed
from parity.site import Edit
from parity.traces.runs import Runs
from parity.weave import weave
from reference.gemma3n.variants import catalogue
from reference.gemma3n.variants.writing import PICTURE, SOUND
from tests.harness import PROMPT
from tests.marks import every_change
from tests.plant import plant_in

MLX, ANE = "implementations.mlx", "implementations.ane"
SAME = "padding=(before, behind)", "padding=(behind, behind)"

BUGS = {
    "mlx": (
        (Edit(f"{MLX}.vision.convolution:Convolution.__call__", *SAME),
         ("pad-symmetric", "pad-symmetric-exp", "pad-symmetric-keys")),
        (Edit(f"{MLX}.vision.blocks:LayerScale.__call__", "x * self.gamma", "x"), ("no-layer-scale",)),
        (Edit(f"{MLX}.vision.blocks:AttentionResidual.__call__", "scaled + x", "scaled"), ("vision-attn-no-skip",)),
        (Edit(f"{MLX}.vision.attention:MultiQueryAttention._attend", "scale=self._dim**-0.5", "scale=1.0"),
         ("vision-attn-unscaled",)),
        (Edit(f"{MLX}.vision.tower:FusionAdapter.__call__", "[fine, resized]", "[resized, fine]"), ("msfa-order",)),
        (Edit(f"{MLX}.audio.subsample:Convolution.__call__", "mx.maximum(normed, 0)", "normed"),
         ("sscp-no-activation",)),
        (Edit(f"{MLX}.audio.conformer:glu", "mx.split(x, 2, axis=-1)", "mx.split(x, 2, axis=-1)[::-1]"),
         ("glu-halves-swapped",)),
        (Edit(f"{MLX}.audio.attention:LocalAttention._weigh",
              "mx.tanh(scores.astype(mx.float32) / self._cap) * self._cap", "scores.astype(mx.float32)"),
         ("softcap-dropped",)),
        (Edit(f"{MLX}.audio.tower:AudioTower._reduced", "x[:, :: self._reduction]",
              "mx.roll(x, -1, 1)[:, :: self._reduction]"), ("reduction-offset",)),
    ),
    "ane": (
        (Edit(f"{ANE}.vision.convolution:ConvolutionNorm.forward", "gelu(x)", "torch.relu(x)"), ("vision-relu",)),
        (Edit(f"{ANE}.vision.blocks:InvertedResidual.forward", "branch + x if self._skips else branch", "branch"),
         ("no-skip-inverted",)),
        (Edit(f"{ANE}.vision.attention:MultiQueryAttention._attend",
              "(-1, self._heads, self._dim, height * width)",
              "(-1, self._dim, self._heads, height * width).transpose(1, 2)"), ("vision-heads-swapped",)),
        (Edit(f"{ANE}.audio.subsample:Subsample.forward", "x.permute(0, 3, 1, 2)", "x.permute(0, 1, 3, 2)"),
         ("sscp-channels-outside",)),
        (Edit(f"{ANE}.audio.conformer:FeedForward.forward", "x + added * self._weight", "x + added"),
         ("residual-weight-one",)),
        (Edit(f"{ANE}.audio.conformer:Attention.forward", "self.pre_attn_norm(clip(x, self._bound))",
              "clip(x, self._bound)"), ("audio-attn-unnormed",)),
        (Edit(f"{ANE}.audio.conformer:Depthwise.forward", "(self._before, 0)", "(self._before // 2,) * 2"),
         ("light-convolution-symmetric",)),
        (Edit(f"{ANE}.audio.conformer:LightConvolution.forward", "torch.sigmoid(gates)", "functional.silu(gates)"),
         ("glu-silu",)),
        (Edit(f"{ANE}.audio.conformer:Block.forward", "self.norm(clip(x, self._bound))", "clip(x, self._bound)"),
         ("conformer-block-no-norm",)),
    ),
}  # fmt: skip
"""For each of our models: wrong lines, and the variants that are the same mistake where the line runs."""


ELSEWHERE = {
    "vision-norm-epsilon": ("conv_stem.bn", "vision.conv_stem.bn"),
    "vision-relu": ("blocks.0.1.bn1.act", "vision.blocks.0.1.bn1.act"),
    "pad-symmetric-keys": ("blocks.2.9.attn.value", "vision.blocks.2.9.attn.value.norm.input"),
    "residual-weight-one": ("conformer.0.ffw_layer_start", "audio.conformer.0.ffw_layer_start.out"),
    "position-term-missing": ("conformer.0.attention.attn", "audio.conformer.0.attention.attn.scores"),
    "sscp-eps": ("subsample_conv_projection.conv_1", "audio.subsample_conv_projection.conv_1.normed"),
}
"""Bugs of towers in other modules than their variants have them in: the place, and the step."""
STEM = {"pad-symmetric": ("conv_stem.conv", "vision.conv_stem.conv")}
"""By itself, for it is in the same line as that of the values."""


@pytest.fixture(scope="module")
def told(harness):
    """What is said of a candidate given a picture and two sounds: its introduced steps, and the causes by step."""
    media = catalogue().parts(dataclasses.replace(catalogue().variants[0], media=PICTURE + SOUND))
    oracle = harness.trace(harness.oracle, "float64", scenario=harness.oracle.scenario("one-shot", PROMPT, media))
    baseline = harness.runs(harness.baseline("float32"), "float32", oracle)

    def run(candidate):
        lockstep = harness.trace(candidate, "float32", oracle=oracle.path, mode="lockstep")
        judgement = judge(oracle=oracle, baseline=baseline, candidate=Runs(None, lockstep))
        variants = Filter(catalogue(), plant_in(harness.oracle))
        found = diagnose(judgement, oracle=oracle, lockstep=lockstep, variants=variants)
        return [step.step for step in judgement.introduced], found, oracle.contract

    return run


@pytest.mark.slow
@pytest.mark.parametrize("backend", every_change(BUGS, "ane"))
def test_all_are_found_and_named_in_one_run(backend, told, harness):
    """Each introduced step is where one of them is; each of them is named, and nothing else is."""
    edits, groups = zip(*BUGS[backend], strict=True)
    known = [catalogue().get(name) for group in groups for name in group]
    candidate = find(backend).load(harness.checkpoint, "float32")
    with weave((), print, edits):
        steps, found, contract = told(candidate)
    assert not [step for step in steps if not any(placed(bug, step, contract) for bug in known)]
    assert {cause.name for said in found for cause in said.causes} == {bug.name for bug in known}


@pytest.mark.slow
@pytest.mark.parametrize("bugs", [ELSEWHERE, STEM], ids=["elsewhere", "stem"])
def test_bugs_of_the_reference_are_named_in_any_module(bugs, told, deviant):
    """Of other kinds of modules too: a stem's norm, values for keys, the first feed-forward."""
    candidate = deviant("norm-no-gain")
    candidate.vary([(name, place) for name, (place, _) in bugs.items()])
    steps, found, _ = told(candidate)
    assert steps == sorted((step for _, step in bugs.values()), key=steps.index)
    assert {said.causes[0].name: said.step for said in found} == {name: step for name, (_, step) in bugs.items()}
