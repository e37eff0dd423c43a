"""Bugs that no variant names, in our own models: each is placed, most are named by a generic cause, none wrongly.

A bug is a line of our source, woven in memory. Beside it stands what a generic cause should call it, as it was written
down before anything was run. Where that is nothing, no cause may be named.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from fnmatch import fnmatchcase
from typing import NamedTuple

import pytest

pytest.importorskip("torch")
pytest.importorskip("mlx.core")

from parity.diagnosis.diagnose import DIAGNOSED, diagnose
from parity.diagnosis.matched import Filter
from parity.diagnosis.together import Remembered
from parity.discovery import find
from parity.judging.cause import Cause
from parity.judging.judge import judge
from parity.site import Edit
from parity.traces.runs import Runs
from parity.traces.scale import family
from parity.weave import weave
from reference.gemma3n.variants import catalogue
from reference.gemma3n.variants.writing import PICTURE, SOUND
from tests.harness import PROMPT
from tests.plant import plant_in

NAMELESS = ""
BUGS, NAMED = 40, 24


class Bug(NamedTuple):
    """A wrong line, the family of the first step that it makes wrong, and the name of the right generic cause.

    `also` are families of steps that the same line computes.
    """

    function: str
    old: str
    new: str
    step: str
    name: str = NAMELESS
    also: tuple[str, ...] = ()


LAYER, ATTENTION, FFN = "layer:DecoderLayer", "attention:Attention", "mlp:MLP"
SOUNDS, BLOCK = "audio.conformer.*", "vision.blocks.*.*"

MLX = (
    Bug(f"{ATTENTION}.__call__", "self.q_norm(queries)", "self.q_norm(queries) * 1.5", "text.layers.*.attn.q_norm",
        "factor"),
    Bug(f"{ATTENTION}._attend", "scale=1.0", "scale=0.7", "text.layers.*.attn.context", "scores"),
    Bug(f"{ATTENTION}._keys_values", "rms_norm(values, None, self._eps)", "rms_norm(values, None, 1e-3)",
        "text.layers.*.attn.v_norm", "epsilon"),
    Bug(f"{FFN}._sparsify", "spread * quantile", "spread * (quantile + 0.1)", "text.layers.*.mlp.cutoff",
        "weighs *.gate_std"),
    Bug(f"{FFN}._sparsify", "mx.maximum(gate - cutoff, 0)", "mx.minimum(gate - cutoff, 0)",
        "text.layers.*.mlp.gate_sparse", "minimum"),
    Bug(f"{FFN}.__call__", "activations * up", "activations * gelu(up)", "text.layers.*.mlp.product"),
    Bug("laurel:Laurel.__call__", "x + normed", "x - normed", "text.layers.*.laurel.out", "weighs *.laurel.normed"),
    Bug(f"{LAYER}._attention", "active + attended", "active + 0.5 * attended", "text.layers.*.attn_gated",
        "weighs *.post_attention_layernorm"),
    Bug(f"{LAYER}._feed_forward", "x + fed", "x + fed + normed", "text.layers.*.activated",
        "adds *.pre_feedforward_layernorm"),
    Bug(f"{LAYER}._add_per_layer", "activation * per_layer_input", "gate * per_layer_input",
        "text.layers.*.per_layer_gated"),
    Bug("altup:AltUp.correct", "activated - active", "activated - predictions[2]",
        "text.layers.*.altup.correct.innovation", "* in place of *"),
    Bug("altup:AltUp.correct", " + 1.0", " + 0.9", "text.layers.*.altup.correct.coefs", "offset"),
    Bug("model:LanguageModel._project_per_layer", "* 2.0**-0.5", "* 0.70703125", "text.per_layer_inputs.out", "factor"),
    Bug("model:LanguageModel._from_streams", "mx.mean(stacked.astype(mx.float32), axis=0)",
        "mx.max(stacked.astype(mx.float32), axis=0)", "text.altup.unembed.out"),
    Bug("model:Gemma3n._head", "mx.tanh(logits / cap) * cap",
        "(mx.tanh(logits / cap) * cap).astype(mx.float16).astype(logits.dtype)", "text.logits", "rounded-float16"),
    Bug("masks:visible", "key <= query", "key <= query + 1", "text.mask.full_attention", "mask-keys",
        ("text.mask.sliding_attention",)),
    Bug("vision.convolution:Convolution.__call__", "padding=(before, behind)",
        "padding=([2 * n for n in before], [0 for n in behind]) if self._stride == 1 else (before, behind)",
        f"{BLOCK}.dw_start.conv", "shifted-before-height-before-width",
        (f"{BLOCK}.conv_exp",)),
    Bug("vision.blocks:EdgeResidual.__call__", "gelu(wide)", "(wide * mx.sigmoid(wide))", f"{BLOCK}.bn1.act",
        "SiLU of *.bn1"),
    Bug("vision.blocks:EdgeResidual.__call__", "narrow + x if", "narrow - x if", f"{BLOCK}.out", "weighs *"),
    Bug("vision.attention:MultiQueryAttention._attend", "self._dim**-0.5", "0.1", f"{BLOCK}.attn.context", "scores"),
    Bug("vision.tower:VisionTower.__call__", "* self._scale", "* 45.0", "vision.soft_tokens", "factor"),
    Bug("audio.conformer:FeedForward.__call__", "added * self._weight", "added * 0.25", f"{SOUNDS}.ffw_layer_start.out",
        "weighs *.post_layer_norm", (f"{SOUNDS}.ffw_layer_end.out",)),
    Bug("audio.attention:LocalAttention.__call__", "masks.locality.contexts(values)",
        "mx.roll(masks.locality.contexts(values), 1, 2)", f"{SOUNDS}.attention.attn.v_blocks", "shifted-before-key"),
    Bug("audio.attention:LocalAttention._weigh", "mx.softmax(hidden, axis=-1)", "mx.softmax(0.5 * hidden, axis=-1)",
        f"{SOUNDS}.attention.attn.probabilities", "scores"),
    Bug("audio.local:Locality.masks", "(reach < self.span)", "(reach < self.span - 1)", f"{SOUNDS}.attention.attn.mask",
        "mask-keys"),
    Bug("audio.conformer:LightConvolution.__call__", "self.pre_layer_norm(x)",
        "(x * mx.rsqrt(mx.mean(x * x, -1, keepdims=True) + 0.01) * self.pre_layer_norm.weight)",
        f"{SOUNDS}.lconv1d.pre_layer_norm", "epsilon"),
)  # fmt: skip

ANE = (
    Bug(f"{FFN}.forward", "gelu(gate)", "torch.sigmoid(gate)", "text.layers.*.mlp.activations", "sigmoid of *"),
    Bug(f"{FFN}._sparsify", "root_mean_square(gate - mean)", "(gate - mean).abs().mean(dim=1, keepdim=True)",
        "text.layers.*.mlp.gate_std", "mean magnitude around the mean of *.gate_proj"),
    Bug(f"{LAYER}._attention", "(gated + laurel) / SQRT2", "(gated + laurel) * 0.70703125", "text.layers.*.attn_laurel",
        "factor"),
    Bug(f"{LAYER}._add_per_layer", "corrected[:, 1:] + normed", "corrected[:, 1:] + projected", "text.layers.*.out"),
    Bug(f"{LAYER}._add_per_layer", "gelu(gate)", "torch.tanh(gate)", "text.layers.*.per_layer_activation",
        "tanh of *.per_layer_input_gate"),
    Bug(f"{ATTENTION}.forward", "self._split(self.q_proj(x), self._heads)",
        "self._split(self.q_proj(x), self._heads).flip(1)", "text.layers.*.attn.q_proj", "reversed-head"),
    Bug(f"{ATTENTION}.forward", "self.q_norm(queries, axis=2)",
        "self.q_norm(queries, axis=2) * queries.abs().amax(2, keepdim=True)", "text.layers.*.attn.q_norm",
        "gain-token-head"),
    Bug(f"{ATTENTION}._keys_values", "shared.presented[self._donor]", "shared.presented[self._donor - 5]",
        "text.layers.*.attn.keys", "is *.attn.keys", ("text.layers.*.attn.values",)),
    Bug("altup:AltUp._route", "torch.tanh(routed)", "torch.sin(routed)", "text.layers.*.altup.predict.modalities",
        "sine of *.routed", ("text.layers.*.altup.correct.modalities",)),
    Bug("altup:StreamProjections._rescale", "x / magnitude * goal", "x / magnitude", "text.altup.embed.*.out",
        "gain-token", ("text.altup.unembed.*.out",)),
    Bug("vision.blocks:LayerScale.forward", "self.gamma[:, None, None]", "self.gamma.flip(0)[:, None, None]",
        f"{BLOCK}.layer_scale", "gain-channel"),
    Bug("vision.blocks:InvertedResidual.forward", "branch + x if", "branch + 0.5 * x if", f"{BLOCK}.out", "weighs *"),
    Bug("vision.tower:FusionAdapter.forward", "doubled(coarse, sides(fine))", "doubled(coarse, sides(fine)).flip(3)",
        "vision.msfa.resized", "reversed-width"),
    Bug("audio.conformer:LightConvolution.forward", "torch.sigmoid(gates)", "torch.tanh(gates)",
        f"{SOUNDS}.lconv1d.glu"),
    Bug("audio.conformer:Depthwise.forward", "(self._before, 0)", "(self._before + 1, -1)",
        f"{SOUNDS}.lconv1d.depthwise_conv1d", "shifted-before-frame"),
    Bug("audio.attention:LocalAttention._weigh", "torch.tanh(scores / self._cap) * self._cap",
        "(scores / (1 + scores.abs() / self._cap))", f"{SOUNDS}.attention.attn.logits"),
    Bug("audio.host:timing_signal", "max(channels // 2 - 1, 1)", "(channels // 2)",
        f"{SOUNDS}.attention.attn.relative_position_embedding.timing_signal"),
    Bug("audio.conformer:Attention.forward", "x + self.post_norm(clip(projected, self._bound))",
        "x + clip(projected, self._bound)", f"{SOUNDS}.attention.out", "sum of *"),
)  # fmt: skip

ALL = {"mlx": MLX, "ane": ANE}
MEDIA = {"text": (), "vision": PICTURE, "audio": SOUND}
"""What shows the bugs of each part; a run without pictures and sounds is a quarter of one with them."""


class Found(NamedTuple):
    """What was said of one backend with its bugs of a part: families of introduced steps, and each bug's cause."""

    wrong: set[str]
    named: dict[Bug, Cause | None]


@pytest.fixture(scope="module")
def found(harness):
    """One lockstep run of each backend with all its bugs of a part, each of which is diagnosed at its first step."""
    variants = catalogue()

    @functools.cache
    def asked(part):
        media = variants.parts(dataclasses.replace(variants.variants[0], media=MEDIA[part]))
        oracle = harness.trace(harness.oracle, "float64", scenario=harness.oracle.scenario("one-shot", PROMPT, media))
        return oracle, harness.runs(harness.baseline("float32"), "float32", oracle)

    def run(backend, candidate, part, plant):
        bugs = [bug for bug in ALL[backend] if bug.step.startswith(part)]
        oracle, baseline = asked(part)
        with planted(backend, bugs):
            lockstep = harness.trace(candidate, "float32", oracle=oracle.path, mode="lockstep")
        judgement = judge(oracle=oracle, baseline=baseline, candidate=Runs(None, lockstep))
        firsts = {family(step.step): step.step for step in reversed(judgement.introduced)}
        found = Found(set(firsts), {})
        for own in batched(bugs):
            names = {firsts.get(bug.step) for bug in own}
            steps = tuple(step for step in judgement.introduced if step.step in names)
            some = dataclasses.replace(judgement, steps=steps)
            said = diagnose(some, oracle=oracle, lockstep=lockstep, variants=Filter(variants, plant))
            causes = {family(one.step): one.causes[0] for one in said if one.causes}
            found.named.update({bug: causes.get(bug.step) for bug in own})
        return found

    plant = Remembered(plant_in(harness.oracle))
    loaded = {backend: find(backend).load(harness.checkpoint, "float32") for backend in ALL}
    return {(backend, part): run(backend, loaded[backend], part, plant) for part in MEDIA for backend in ALL}


def planted(backend, bugs):
    """All of these bugs in the backend's source."""
    return weave((), print, [Edit(f"implementations.{backend}.{bug.function}", bug.old, bug.new) for bug in bugs])


def batched(bugs):
    """As many as a judgement diagnoses."""
    return [bugs[first : first + DIAGNOSED] for first in range(0, len(bugs), DIAGNOSED)]


def test_there_are_enough_and_of_all_parts():
    bugs = [bug for bugs in ALL.values() for bug in bugs]
    assert len({(backend, bug.function, bug.old) for backend, own in ALL.items() for bug in own}) == len(bugs) >= BUGS
    parts = Counter(bug.step.split(".")[0] for bug in bugs)
    assert all(parts[part] >= 6 for part in ("text", "vision", "audio"))


@pytest.mark.parametrize("backend", ALL)
def test_bugs_are_of_the_code_as_it_is(backend):
    """A line that moved shows in seconds, not in the slow tests alone."""
    with planted(backend, ALL[backend]):
        pass


@pytest.mark.slow
def test_each_is_placed(found):
    """At its steps, and nowhere else."""
    for (backend, part), one in found.items():
        own = [bug for bug in ALL[backend] if bug.step.startswith(part)]
        assert one.wrong == {step for bug in own for step in (bug.step, *bug.also)}


@pytest.mark.slow
def test_most_are_named_and_none_wrongly(found):
    every = {bug: cause for one in found.values() for bug, cause in one.named.items()}
    right = [bug for bug, cause in every.items() if cause and bug.name and fnmatchcase(cause.name, bug.name)]
    wrong = [(bug.step, cause.name) for bug, cause in every.items() if cause and bug not in right]
    assert not wrong
    assert len(right) >= NAMED
