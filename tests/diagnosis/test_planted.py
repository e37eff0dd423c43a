"""Known bugs in our own models instead of the reference: each is found at its step and called by its name.

A bug is one line: the text that stands once in a function of `implementations`, what a port may have written there, and
the variant of the reference that is the same mistake. It is woven in memory, wherever that function runs.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import pytest

pytest.importorskip("torch")

from parity.diagnosis.diagnose import diagnose
from parity.diagnosis.matched import Filter
from parity.discovery import find
from parity.judging.judge import judge
from parity.site import Edit
from parity.traces.runs import Runs
from parity.traces.scale import family
from parity.weave import weave
from reference.gemma3n.variants import catalogue
from tests.plant import plant_in

SHORT = "one-shot"


class Bug(NamedTuple):
    """What is wrong, where, and its name."""

    function: str
    old: str
    new: str
    variant: str

    @property
    def backend(self) -> str:
        """Whose function it is."""
        return self.function.partition(".")[0]

    @property
    def edit(self) -> Edit:
        """The line."""
        return Edit(f"implementations.{self.function}", self.old, self.new)


ANE_LAYER, MLX_LAYER = "ane.layer:DecoderLayer", "mlx.layer:DecoderLayer"
ANE_ATTENTION, MLX_ATTENTION = "ane.attention:Attention", "mlx.attention:Attention"
ANE_ALTUP, ANE_MLP, ANE_LAUREL = "ane.altup:AltUp", "ane.mlp:MLP", "ane.laurel:Laurel.forward"
DECODER, HEAD, HOST = "ane.decoder:Decoder", "ane.decoder:Head.forward", "ane.host:Host.prepare"

BUGS = (
    Bug("ane.embedder:Embedder.forward", " * text.hidden_size**0.5", " * text.hidden_size**1.0", "embed-scale-squared"),
    Bug(f"{DECODER}._project_per_layer", " * 2.0**-0.5", "", "ple-no-sqrt2"),
    Bug(f"{DECODER}._to_streams", "[embedded, *projected]", "[embedded, *projected[::-1]]", "altup-stream-order"),
    Bug(f"{DECODER}.end", "self.norm(merged)", "merged", "norm-final-missing"),
    Bug(HEAD, "torch.tanh(logits / cap) * cap", "torch.tanh(logits / cap)", "soft-cap-not-rescaled"),
    Bug(f"{ANE_ALTUP}.predict", "mixed + streams", "mixed", "altup-predict-no-residual"),
    Bug(f"{ANE_ALTUP}.correct", "activated - active", "active - activated", "altup-innovation-sign"),
    Bug(f"{ANE_ALTUP}.correct", " + 1.0", "", "altup-no-plus-one"),
    Bug(f"{ANE_ALTUP}._route", " * self._input_scale", "", "altup-router-no-scale"),
    Bug(ANE_LAUREL, "x + normed", "normed", "laurel-no-residual"),
    Bug(f"{ANE_LAYER}._attention", "(gated + laurel) / SQRT2", "(gated + laurel) / 2", "laurel-half"),
    Bug(f"{ANE_LAYER}._add_per_layer", "gelu(gate)", "torch.nn.functional.silu(gate)", "ple-gate-silu"),
    Bug(f"{ANE_ATTENTION}.forward", "rotate(queries, tables)", "queries", "rope-queries-unrotated"),
    Bug(f"{ANE_ATTENTION}._keys_values", "self.k_norm(keys, axis=2)", "keys", "attn-key-norm-missing"),
    Bug(f"{ANE_ATTENTION}._attend", " @ keys.transpose(2, 3)", " @ keys.transpose(2, 3) / dim**0.5",
        "attn-scale-sqrt-d"),
    Bug(f"{ANE_MLP}._sparsify", "torch.relu(gate - cutoff)", "gate", "sparsity-skipped"),
    Bug(f"{MLX_LAYER}._attention", "((gated + laurel) / self._sqrt2)", "gated / self._sqrt2", "laurel-missing"),
    Bug(f"{MLX_LAYER}._feed_forward", "self.pre_feedforward_layernorm(x)", "x", "mlp-no-pre-norm"),
    Bug(f"{MLX_LAYER}._add_per_layer", "activation * per_layer_input", "activation + per_layer_input", "ple-added"),
    Bug(f"{MLX_ATTENTION}.__call__", "self.q_norm(queries)", "queries", "attn-query-norm-missing"),
    Bug(f"{MLX_ATTENTION}._attend", "scale=1.0", "scale=self._head_dim**-0.5", "attn-scale-sqrt-d"),
    Bug(f"{MLX_ATTENTION}._rotate", "traditional=False", "traditional=True", "rope-interleaved"),
    Bug("mlx.mlp:MLP._sparsify", "wide - centre", "wide", "sparsity-rms-for-std"),
    Bug(HOST, "positions(start, count, conversation.padding))", "1 + positions(start, count, conversation.padding))",
        "position-from-one"),
    Bug(HEAD, "torch.tanh(logits / cap) * cap", "logits.clamp(-cap, cap)", "soft-cap-hard"),
    Bug(f"{ANE_MLP}.forward", "gelu(gate)", "torch.relu(gate)", "mlp-gate-relu"),
)  # fmt: skip

MORE = (
    Bug(f"{DECODER}._project_per_layer", "(normed + token_term.reshape(shape))", "normed", "ple-missing"),
    Bug(f"{DECODER}._from_streams", "mean(dim=1)", "sum(dim=1)", "altup-unembed-summed"),
    Bug(f"{ANE_ALTUP}._route", "torch.tanh(routed)", "routed", "altup-router-no-tanh"),
    Bug(ANE_LAUREL, "self.post_laurel_norm(right)", "right", "laurel-no-norm"),
    Bug(f"{ANE_LAYER}._attention", "active + attended", "normed + attended", "attn-residual-normed"),
    Bug(f"{ANE_LAYER}._feed_forward", "x + fed", "fed", "mlp-no-residual"),
    Bug(f"{ANE_LAYER}._add_per_layer", "x * self.altup.correct_output_scale[:, None, None]", "x",
        "altup-output-scale-missing"),
    Bug(f"{ANE_ATTENTION}._keys_values", "self.v_proj(x)", "self.k_proj(x)", "attn-value-of-keys"),
    Bug("mlx.altup:AltUp.predict", "mixed + streams", "mixed", "altup-predict-no-residual"),
)  # fmt: skip
"""As good as those above, and left to those who have the time."""


@pytest.fixture(scope="module")
def found_of(harness):
    """What the judge and the diagnosis say of a bug: the first introduced step, and what it behaves as."""
    oracle, baseline = harness.oracle_trace(SHORT), harness.baseline_runs("float32", SHORT)

    @functools.cache
    def loaded(backend):
        return find(backend).load(harness.checkpoint, "float32")

    def run(bug):
        candidate = loaded(bug.backend)
        with weave((), print, [bug.edit]):
            lockstep = harness.trace(candidate, "float32", oracle=oracle.path, mode="lockstep")
        judgement = judge(oracle=oracle, baseline=baseline, candidate=Runs(None, lockstep))
        first = dataclasses.replace(judgement, steps=(judgement.first_divergence,))
        variants = Filter(catalogue(), plant_in(harness.oracle))
        return first.steps[0], diagnose(first, oracle=oracle, lockstep=lockstep, variants=variants)

    return run


@pytest.fixture(scope="module", params=[BUGS, pytest.param(MORE, marks=pytest.mark.exhaustive)], ids=["bugs", "more"])
def all_found(found_of, request):
    """The same of all bugs."""
    return {bug: found_of(bug) for bug in request.param}


@pytest.mark.slow
def test_each_is_found_at_its_step(all_found):
    """In the first layer that has the step, for the bug is in all of them."""
    elsewhere = [
        (bug, step.step)
        for bug, (step, _) in all_found.items()
        if family(step.step) != family(catalogue().get(bug.variant).at().first)
    ]
    assert not elsewhere


@pytest.mark.slow
def test_each_is_called_by_its_name(all_found):
    """Its own first in 95 % of them at least; others that look the same may be named with it."""
    wrong = [
        (bug.variant, said[0].causes or said[0].nearest)
        for bug, (_, said) in all_found.items()
        if not said[0].causes or said[0].causes[0].name != bug.variant
    ]
    assert len(wrong) <= 0.05 * len(all_found), wrong


@pytest.mark.slow
def test_the_models_are_right_again(found_of, harness):
    """No edit outlives its run."""
    found_of(BUGS[0])
    assert harness.judge(find("ane").load(harness.checkpoint, "float32"), "float32", SHORT).first_divergence is None


def test_there_are_enough():
    """In both of our models, of most parts, and no bug twice."""
    assert len(BUGS) >= 25
    assert len({bug.edit for bug in (*BUGS, *MORE)}) == len(BUGS) + len(MORE)
    assert {bug.backend for bug in BUGS} == {"ane", "mlx"}
    assert len({catalogue().get(bug.variant).component for bug in BUGS}) >= 9
