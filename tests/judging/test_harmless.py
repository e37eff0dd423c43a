"""Right code that is written another way: rewrites of our own models that are harmless, and are not accused.

A rewrite is one line, woven in memory as a port may have it: sums in another order, projections joined or split, a
function by its formula. All those of a group are in force at once, for from exact inputs each step errs alone.
"""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

pytest.importorskip("mlx.core")
pytest.importorskip("torch")

from parity.diagnosis.accumulated import Accumulated
from parity.diagnosis.together import Remembered
from parity.discovery import find
from parity.errors import ExitCode
from parity.judging.baseline import judged
from parity.media import Part
from parity.site import Edit
from parity.tap import ScopedTap
from parity.traces.scale import family
from parity.weave import weave
from reference.gemma3n.variants import catalogue
from tests.harness import PROMPT, QUESTION
from tests.marks import every_change, quick
from tests.plant import plant_in

SAMPLES = Path(__file__).parents[2] / "samples"
MEDIA = (Part("image", str(SAMPLES / "gradient.png")), Part("audio", str(SAMPLES / "rising-chirp.wav")))
MLX, ANE, SHARED = "implementations.mlx", "implementations.ane", "implementations.gemma3n"
MLX_LAYERS, ANE_LAYERS = f"{MLX}.operations.layers", f"{ANE}.engine.layers"

ATTENTION, MLP, ALTUP = f"{MLX}.attention:Attention", f"{MLX}.mlp:MLP", f"{MLX}.altup:AltUp"
HEAD = f"{MLX}.model:Gemma3n._head"
MODEL, LAYER, NORM = f"{MLX}.model:LanguageModel", f"{MLX}.layer:DecoderLayer", f"{MLX_LAYERS}:rms_norm"
SDPA = "mx.fast.scaled_dot_product_attention(queries, keys, values, scale=1.0, mask=mask)"
KEYS, VALUES = (f"mx.repeat({name}, queries.shape[1] // {name}.shape[1], axis=1)" for name in ("keys", "values"))
SCORES = f"mx.where(mask, queries @ mx.swapaxes({KEYS}, -1, -2), -mx.inf)"
EXPONENTIALS = f"mx.exp({SCORES} - mx.max({SCORES}, axis=-1, keepdims=True))"
WIDE = "gate.astype(mx.float32)"
HALVES = (
    "x[..., : x.shape[-1] // 2] @ self.weight[:, : x.shape[-1] // 2].T",
    ("x[..., x.shape[-1] // 2 :] @ self.weight[:, x.shape[-1] // 2 :].T"),
)
JOINED = "(lambda w: mx.split(x @ mx.concatenate(w).T, [len(w[0])], axis=-1))"

MLX_GROUPS = {
    "kernels": (
        Edit(NORM, "if not ON_CPU:", "if True:"),  # mx.fast.rms_norm, whose sums are in order on the CPU
        Edit(f"{MLX_LAYERS}:mean", "if not ON_CPU:", "if True:"),  # mx.mean
        Edit(f"{MLP}._sparsify", "mx.sqrt(mean(mx.square(wide - centre)))", "mx.std(wide, axis=-1, keepdims=True)"),
        Edit(f"{MLX_LAYERS}:Linear.__call__", "if not IN_ORDER or", "if True or"),  # products as MLX's BLAS has them
    ),
    "formulas": (
        Edit(NORM, "return _divided(x, square, eps) if gain is None else _normed(x, square, eps, gain)",
             "return (x.astype(mx.float32) / mx.sqrt(square + eps) * (1.0 if gain is None else gain)).astype(x.dtype)"),
        Edit(f"{MLP}._sparsify", "mean(mx.square(wide - centre))", "mean(mx.square(wide)) - mx.square(centre)"),
        Edit(f"{MLP}.__call__", "gelu(gate)", f"(0.5 * {WIDE} * (1 + mx.tanh(0.7978845608028654 * ({WIDE} + 0.044715"
             f" * {WIDE} * {WIDE} * {WIDE})))).astype(gate.dtype)"),
        Edit(f"{ATTENTION}._attend", SDPA,
             f"(({EXPONENTIALS} / mx.sum({EXPONENTIALS}, axis=-1, keepdims=True)) @ {VALUES})"),
        Edit(HEAD, "mx.tanh(logits / cap) * cap",
             "(mx.tanh(logits.astype(mx.float32) * (1 / cap)) * cap).astype(logits.dtype)"),
        Edit(f"{LAYER}._attention", "/ self._sqrt2)", "* (1 / self._sqrt2))"),
    ),
    "orders": (
        Edit(f"{MLX_LAYERS}:mean", "count = x.shape[-1]\n",
             "count = x.shape[-1]\n    return mx.sum(x[..., ::-1], axis=-1, keepdims=True) / count\n"),
        Edit(f"{ATTENTION}._attend", SDPA,
             f"(({EXPONENTIALS} @ {VALUES}) / mx.sum({EXPONENTIALS}, axis=-1, keepdims=True))"),
        Edit(f"{ALTUP}.predict", "mx.swapaxes(coefs, -1, -2) @ streams.transpose(1, 2, 0, 3)",
             "mx.einsum('btfo,fbth->btoh', coefs, streams)"),
        Edit(f"{MLX}.altup:StreamProjections._rescale", "x * (goal.astype(mx.float32) / magnitude)",
             "x.astype(mx.float32) * goal / magnitude"),
        Edit(f"{MODEL}._from_streams", "mx.mean(stacked.astype(mx.float32), axis=0)",
             "(sum(stacked[i].astype(mx.float32) for i in (3, 2, 1, 0)) * 0.25)"),
        Edit(f"{MODEL}._project_per_layer", "(normed + token_term) * 2.0**-0.5",
             "((token_term.astype(mx.float32) + normed) * 0.5**0.5).astype(normed.dtype)"),
        Edit(f"{MLX_LAYERS}:Linear.__call__", "return super().__call__(x)",
             f"return super().__call__(x) if x.shape[-1] < 2 else {HALVES[0]} + {HALVES[1]}"),
        Edit(f"{MLX_LAYERS}:Linear.__call__", "return in_blocks(x, self._blocks())",
             f"return {HALVES[1]} + {HALVES[0]}"),
    ),
    "joined": (
        Edit(f"{MLP}.__call__", "self.gate_proj(x)", f"{JOINED}((self.gate_proj.weight, self.up_proj.weight))[0]"),
        Edit(f"{MLP}.__call__", "self.up_proj(x)", f"{JOINED}((self.gate_proj.weight, self.up_proj.weight))[1]"),
        Edit(f"{ATTENTION}._keys_values", "self.k_proj(x)",
             f"{JOINED}((self.k_proj.weight, self.v_proj.weight))[0]"),
        Edit(f"{ATTENTION}._keys_values", "self.v_proj(x)",
             f"{JOINED}((self.k_proj.weight, self.v_proj.weight))[1]"),
        Edit(f"{ATTENTION}.__call__", "self.o_proj(mx.flatten(context, 2))",
             "mx.einsum('bthd,ohd->bto', context, mx.unflatten(self.o_proj.weight, -1, (-1, self._head_dim)))"),
        Edit(f"{MLX}.laurel:Laurel.__call__", "self.linear_right(left)",
             "mx.swapaxes(self.linear_right.weight @ mx.swapaxes(left, -1, -2), -1, -2)"),
    ),
    "constants": (  # a number of Python's is rounded to the arithmetic
        Edit(f"{LAYER}._attention", "/ self._sqrt2)", "* 2.0**-0.5)"),
        Edit(HEAD, "mx.tanh(logits / cap) * cap", "mx.tanh(logits * (1 / cap)) * cap"),
    ),
}  # fmt: skip
"""Rewrites of our model on MLX, all as true as the lines that they stand for."""

BY_HAND = "(masked - masked.amax(-1, keepdim=True)).exp()"
ANE_GROUPS = {
    "formulas": (
        Edit(f"{ANE_LAYERS}:RMSNorm.forward", "normed = doubled[..., : self._width]",
             "normed = last / (last.square().mean(-1, keepdim=True) + self.eps).sqrt()"),
        Edit(f"{ANE_LAYERS}:root_mean_square", "largest * (x / largest).square().mean(dim=1, keepdim=True).sqrt()",
             "x.pow(2).sum(dim=1, keepdim=True).div(x.shape[1]).sqrt()"),
        Edit(f"{ANE}.mlp:MLP.forward", "gelu(gate)",
             "gate / (1 + torch.exp(-1.5957691216057308 * (gate + 0.044715 * gate * gate * gate)))"),
        Edit(f"{ANE}.attention:Attention._attend", "torch.softmax(masked, dim=-1)",
             f"({BY_HAND} / {BY_HAND}.sum(-1, keepdim=True))"),
        Edit(f"{ANE}.decoder:Head.forward", "torch.tanh(logits / cap) * cap",
             "torch.tanh(logits * (1 / cap)) * cap"),
    ),
    "orders": (
        Edit(f"{ANE_LAYERS}:Projection.forward",
             "super().forward(x.contiguous(memory_format=torch.channels_last)).contiguous()",
             "super().forward(x) if x.shape[1] < 2 else torch.einsum('oi,bixt->boxt', self.weight[:, :, 0, 0], x)"),
        Edit(f"{ANE}.mlp:MLP._sparsify", "gate.mean(dim=1, keepdim=True)",
             "gate.flip(1).sum(dim=1, keepdim=True) / gate.shape[1]"),
        Edit(f"{ANE}.altup:AltUp.predict", "(mixing @ streams.permute(0, 3, 1, 2))",
             "(mixing[..., None] * streams.permute(0, 3, 1, 2)[:, :, None]).sum(-2)"),
        Edit(f"{ANE}.decoder:Decoder._from_streams", ".mean(dim=1).unsqueeze(2)",
             ".flip(1).cumsum(dim=1)[:, -1:].mul(0.25).transpose(1, 2)"),
        Edit(f"{ANE}.layer:DecoderLayer._attention", "(gated + laurel) / SQRT2", "gated / SQRT2 + laurel / SQRT2"),
    ),
}  # fmt: skip
"""Rewrites of our model for the Neural Engine."""

FEATURES = f"{SHARED}.preprocessing.mel:_features"
RFFT = "np.fft.rfft(frames, axis=1)"
MEL = {
    "rfft of scipy": Edit(FEATURES, RFFT, "__import__('scipy.fft').fft.rfft(frames, axis=1)"),
    "in float64": Edit(FEATURES, RFFT, "np.fft.rfft(frames.astype(np.float64), axis=1)"),
    "window in float64": Edit(FEATURES, "hann(settings.frame_length)",
                              "np.hanning(settings.frame_length + 1)[:-1].astype(np.float32)"),
}  # fmt: skip
"""Preprocessing that is as near to the truth as transformers' own."""

SEQUENTIAL = "mx.cumsum(mx.square(gate - centre.astype(gate.dtype)), axis=-1)[..., -1:] / gate.shape[-1]"
FAULTS = {
    "variance accumulated in bfloat16": ("bfloat16", "text.layers.*.mlp.gate_std",
        Edit(f"{MLP}._sparsify", "mean(mx.square(wide - centre))", f"({SEQUENTIAL}).astype(mx.float32)")),
    "mean over one channel less": ("float32", "text.layers.*.mlp.gate_mean",
        Edit(f"{MLP}._sparsify", "centre = mean(wide)", "centre = mx.mean(wide[..., :-1], axis=-1, keepdims=True)")),
    "divided by one less": ("float32", "text.layers.*.mlp.gate_std",
        Edit(f"{MLP}._sparsify", "mean(mx.square(wide - centre))",
             "(mean(mx.square(wide - centre)) * (wide.shape[-1] / (wide.shape[-1] - 1)))")),
    "a norm without its last channel": ("float32", "text.layers.*.input_layernorm",
        Edit(NORM, "mean(mx.square(x.astype(mx.float32)))",
             "mx.mean(mx.square(x[..., :-1].astype(mx.float32)), axis=-1, keepdims=True)")),
}  # fmt: skip
"""Mistakes that resemble another order of a sum: arithmetic, the first step's family, and the line."""

SHOWN = ("text.input_ids", "text.inputs_embeds", "text.norm", "text.lm_head", "text.logits")


class Court:
    """Judges our models, with rewrites in force, on one input."""

    def __init__(self, harness, prompt, media=()):
        self._harness, self._asked = harness, ("one-shot", prompt, media)
        self._oracle = harness.oracle_trace(*self._asked)
        self._plant = Remembered(plant_in(harness.oracle))

    @functools.cache  # noqa: B019 - one court lives for the whole module
    def _coarse(self, dtype):
        return Remembered(plant_in(self._harness.baseline(dtype)))

    @functools.cache  # noqa: B019
    def _loaded(self, backend, dtype):
        return find(backend).load(self._harness.checkpoint, dtype)

    def __call__(self, backend, dtype, edits):
        """The judgement; a backend by its name, or a loaded one."""
        candidate = self._loaded(backend, dtype) if isinstance(backend, str) else backend
        with weave((), print, edits):
            runs = self._harness.runs(candidate, dtype, self._oracle)
        baseline = self._harness.measured(dtype, *self._asked)
        judgement, held_to = judged(oracle=self._oracle, baseline=baseline, candidate=runs)
        if dtype == "float32":
            return judgement
        # what a comparison says in bfloat16, where bugs may be below the noise
        evidence = Accumulated(catalogue(), self._plant, coarse=self._coarse(dtype))
        return evidence.judged(judgement, oracle=self._oracle, baseline=held_to.lockstep, candidate=runs.lockstep)


@pytest.fixture(scope="module")
def text(harness):
    """Judges on a prompt of text."""
    return Court(harness, PROMPT)


@pytest.fixture(scope="module")
def media(harness):
    """Judges on a picture and a sound."""
    return Court(harness, QUESTION, MEDIA)


def require_unaccused(judgement):
    """Parity, or coarse at most."""
    wrong = [(step.step, step.phase, str(step.status), step.note, round(step.ratio, 2)) for step in judgement.steps
             if step.status.diverged]  # fmt: skip
    assert not wrong, wrong[:8]
    assert judgement.exit_code is ExitCode.PARITY
    assert not judgement.introduced


@pytest.mark.parametrize("edits", [*MLX_GROUPS.values(), *ANE_GROUPS.values()], ids=[*MLX_GROUPS, *ANE_GROUPS])
def test_rewrites_are_of_the_code_as_it_is(edits):
    """A line that moved shows in seconds, not in the slow tests alone."""
    with weave((), print, edits):
        pass


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("group", quick(MLX_GROUPS))
def test_rewrites_of_mlx_are_not_accused(text, group, dtype):
    require_unaccused(text("mlx", dtype, MLX_GROUPS[group]))


@pytest.mark.parametrize("group", ANE_GROUPS)
def test_rewrites_of_ane_are_not_accused(text, group):
    require_unaccused(text("ane", "float32", ANE_GROUPS[group]))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", every_change(["float32", "bfloat16"], "float32"))
def test_rewrites_of_the_towers_are_not_accused(media, dtype):
    """MLX's own norm at width 2048 among them, and mel by another transform."""
    require_unaccused(media("mlx", dtype, (*MLX_GROUPS["kernels"], MEL["rfft of scipy"])))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["in float64", "window in float64"])
def test_preprocessing_of_another_precision_is_not_accused(media, way):
    require_unaccused(media("mlx", "float32", (MEL[way],)))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_what_resembles_another_order_is_a_fault(text, fault):
    dtype, step, edit = FAULTS[fault]
    judgement = text("mlx", dtype, (edit,))
    assert judgement.exit_code is ExitCode.DIVERGED
    assert step in {family(each.step) for each in judgement.introduced}


def test_a_port_that_shows_five_steps_is_not_accused(text, harness):
    """All else is declared hidden, as in a runtime that is one fused program."""
    require_unaccused(text(_shut(find("mlx"))(harness), "float32", ()))


def _shut(backend):
    """Makes a backend of which few steps are seen."""

    class Shut(backend):
        hidden = {"*": "inside a program that shows its ends alone"}  # noqa: RUF012 - a test's constant

        def forward(self, token_ids, *, prompts=(), tap):
            heard = ScopedTap(lambda name, value: tap(name, value) if name in SHOWN else value)
            return super().forward(token_ids, prompts=prompts, tap=heard)

    return lambda harness: Shut.load(harness.checkpoint, "float32")
