"""Deviant backends that tests hand to the harness as candidates, ``tests.deviations:<name>``.

Most are the reference with one line of its source changed, in one layer where the line belongs to a layer: `DEVIATIONS`
says which line, in which scenario it shows, and at which step it must be found.
"""

from __future__ import annotations

import copy
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from parity.tap import Tap
from parity.weave import Edit
from reference.huggingface import Reference
from reference.steps import MODELING

LAYER = 3
"""The layer that deviates: sliding, sparse, with its own keys."""


@dataclass(frozen=True)
class Deviation:
    """One wrong line.

    Attributes:
        edit: the line.
        first: the step at which it must be found.
        module: path of the one module that deviates, below the language model; empty where all do.
        scenario: where it shows.
    """

    function: str
    old: str
    new: str
    first: str
    module: str = ""
    scenario: str = "one-shot"


def _in_layer(step: str) -> str:
    return f"text.layers.{LAYER}.{step}"


ALTUP, ATTENTION, MLP = (f"layers.{LAYER}.{part}" for part in ("altup", "self_attn", "mlp"))
OWN = "getattr(self, 'deviant', False)"
EAGER = "getattr(module, 'deviant', False)"

DEVIATIONS = {
    "ple_scale_hidden": Deviation(
        "Gemma3nTextModel.get_per_layer_inputs", "self.embed_tokens_per_layer(input_ids)",
        "(self.embed_tokens_per_layer(input_ids)"
        " * (self.config.hidden_size / self.hidden_size_per_layer_input) ** 0.5)",
        "text.per_layer_inputs.token"),
    "ple_missing": Deviation(
        "Gemma3nTextModel.project_per_layer_inputs", "(per_layer_projection + per_layer_inputs)",
        "(per_layer_projection + 0 * per_layer_inputs)", "text.per_layer_inputs.out"),
    "altup_coefs_transposed": Deviation(
        "Gemma3nTextAltUp.correct", "all_coefs.permute(2, 0, 1)",
        f"(all_coefs.permute(2, 1, 0) if {OWN} else all_coefs.permute(2, 0, 1))", _in_layer("altup.correct.out"),
        ALTUP, "square"),
    "altup_predict_not_transposed": Deviation(
        "Gemma3nTextAltUp.predict", ".permute(0, 1, 3, 2)", f".permute(*((0, 1, 2, 3) if {OWN} else (0, 1, 3, 2)))",
        _in_layer("altup.predict.coefs"), ALTUP),
    "altup_no_plus_one": Deviation(
        "Gemma3nTextAltUp.correct", "self.correction_coefs(modalities) + 1.0",
        f"self.correction_coefs(modalities) + (0.0 if {OWN} else 1.0)", _in_layer("altup.correct.coefs"), ALTUP),
    "kv_wrong_donor": Deviation(
        "Gemma3nTextAttention.forward", "= shared_kv_states[self.layer_type]",
        f"= shared_kv_states['full_attention' if {OWN} else self.layer_type]", "text.layers.21.attn.keys",
        "layers.21.self_attn"),
    "mask_no_window": Deviation(
        "Gemma3nTextModel.forward", "create_sliding_window_causal_mask(**mask_kwargs)",
        "(create_causal_mask if inputs_embeds.shape[1] > 1 else create_sliding_window_causal_mask)(**mask_kwargs)",
        "text.mask.sliding_attention", scenario="long"),
    "mask_window_plus_one": Deviation(
        "Gemma3nTextModel.forward", "create_sliding_window_causal_mask(**mask_kwargs)",
        "create_sliding_window_causal_mask("
        "**{**mask_kwargs, 'config': __import__('tests.deviations').deviations.wider(self.config)})",
        "text.mask.sliding_attention", scenario="long"),
    "mask_bool_added": Deviation(
        "eager_attention_forward", "attn_weights + attention_mask",
        f"attn_weights + ((attention_mask == 0).to(attn_weights.dtype) if {EAGER} else attention_mask)",
        _in_layer("attn.context"), ATTENTION),
    "rope_bases_swapped": Deviation(
        "Gemma3nRotaryEmbedding.forward", 'getattr(self, f"{layer_type}_inv_freq")',
        "getattr(self, {'full_attention': 'sliding_attention', 'sliding_attention': 'full_attention'}[layer_type]"
        " + '_inv_freq')", "text.rope.full_attention.inv_freq"),
    "rope_on_queries_skipped": Deviation(
        "Gemma3nTextAttention.forward", "apply_rotary_pos_emb(query_states, cos, sin, unsqueeze_dim=2)",
        f"(query_states if {OWN} else apply_rotary_pos_emb(query_states, cos, sin, unsqueeze_dim=2))",
        _in_layer("attn.q_rope"), ATTENTION),
    "attn_scale_sqrt_d": Deviation(
        "Gemma3nTextAttention.forward", "scaling=self.scaling",
        f"scaling=self.head_dim**-0.5 if {OWN} else self.scaling", _in_layer("attn.context"), ATTENTION),
    "sparsity_skipped": Deviation(
        "Gemma3nTextMLP._gaussian_topk", "nn.functional.relu(inputs - cutoff_x)",
        f"(inputs if {OWN} else nn.functional.relu(inputs - cutoff_x))", _in_layer("mlp.gate_sparse"), MLP),
    "sparsity_exact_topk": Deviation(
        "Gemma3nTextMLP._gaussian_topk", "nn.functional.relu(inputs - cutoff_x)",
        f"(torch.where(inputs >= inputs.topk(max(1, inputs.shape[-1] // 20)).values[..., -1:], inputs, 0.0) if {OWN}"
        " else nn.functional.relu(inputs - cutoff_x))", _in_layer("mlp.gate_sparse"), MLP),
    "sparsity_sample_std": Deviation(
        "Gemma3nTextMLP._gaussian_topk", "unbiased=False", f"unbiased={OWN}", _in_layer("mlp.gate_std"), MLP),
    "norm_one_plus_weight": Deviation(
        "Gemma3nRMSNorm.forward", "self.weight.float()", f"(self.weight.float() + (1.0 if {OWN} else 0.0))",
        _in_layer("input_layernorm"), f"layers.{LAYER}.input_layernorm"),
    "norm_epsilon": Deviation(
        "Gemma3nRMSNorm._norm", "+ self.eps", f"+ (1e-5 if {OWN} else self.eps)",
        _in_layer("pre_feedforward_layernorm"), f"layers.{LAYER}.pre_feedforward_layernorm"),
    "norm_gain": Deviation(
        "Gemma3nRMSNorm.forward", "self.weight.float()", f"(self.weight.float() * (1.0001 if {OWN} else 1.0))",
        _in_layer("post_attention_layernorm"), f"layers.{LAYER}.post_attention_layernorm"),
    "laurel_no_sqrt2": Deviation(
        "Gemma3nTextDecoderLayer.forward", "/ math.sqrt(2)", f"/ (1.0 if {OWN} else math.sqrt(2))",
        _in_layer("attn_laurel"), f"layers.{LAYER}"),
    "embed_scale_decode": Deviation(
        "Gemma3nTextScaledWordEmbedding.forward", "* self.embed_scale.to(self.weight.dtype)",
        f"* (1.0 if {OWN} and input_ids.shape[-1] == 1 else self.embed_scale.to(self.weight.dtype))",
        "text.embed_tokens", "embed_tokens", "decode"),
}  # fmt: skip

FURTHER = {
    "query_norm_skipped": Deviation(
        "Gemma3nTextAttention.forward", "self.q_norm(query_states)",
        f"(query_states if {OWN} else self.q_norm(query_states))", _in_layer("attn.q_norm"), ATTENTION),
    "laurel_no_residual": Deviation(
        "Gemma3nTextLaurelBlock.forward", "hidden_states + normed_laurel_hidden_states",
        f"(0.0 if {OWN} else hidden_states) + normed_laurel_hidden_states", _in_layer("laurel.out"),
        f"layers.{LAYER}.laurel"),
    "gate_relu": Deviation(
        "Gemma3nTextMLP.forward", "self.act_fn(gate_proj)",
        f"(nn.functional.relu(gate_proj) if {OWN} else self.act_fn(gate_proj))", _in_layer("mlp.activations"), MLP),
    "streams_not_averaged": Deviation(
        "Gemma3nTextModel.forward", "torch.mean(hidden_states, dim=0)", "hidden_states[0]",
        "text.altup.unembed.out"),
    "no_soft_cap": Deviation(
        "Gemma3nForConditionalGeneration.forward", "logits = torch.tanh(logits)", "logits = logits", "text.logits"),
}  # fmt: skip

REORDERINGS = {
    "attention_implementation": Deviation(
        "eager_attention_forward", "attn_output = torch.matmul(attn_weights, value_states)",
        "attn_output = nn.functional.scaled_dot_product_attention(query, key_states, value_states,"
        " attn_mask=attention_mask, scale=scaling)", ""),
    "split_sums": Deviation(
        "Gemma3nTextAttention.forward", "attn_output = self.o_proj(attn_output)",
        "attn_output = sum(nn.functional.linear(x, w) for x, w in zip("
        "attn_output.chunk(4, -1), self.o_proj.weight.chunk(4, -1)))", ""),
    "fused_norm": Deviation(
        "Gemma3nRMSNorm._norm", "hidden_states * torch.pow(mean_squared, -0.5)",
        "nn.functional.rms_norm(hidden_states, hidden_states.shape[-1:], eps=self.eps)", ""),
}  # fmt: skip


def wider(config: Any) -> Any:
    """The configuration with a sliding window of one position more."""
    changed = copy.copy(config)
    changed.sliding_window += 1
    return changed


class Deviant(Reference):
    """The reference with one module marked, and its functions edited."""

    marked = ""

    @classmethod
    def load(cls, checkpoint: Path, dtype: str, **options: str) -> Self:
        """Load, and mark the module that deviates."""
        backend = super().load(checkpoint, dtype)
        if cls.marked:
            backend._model.model.language_model.get_submodule(cls.marked).deviant = True
        return backend


def _candidate(name: str, deviation: Deviation) -> type[Deviant]:
    edit = Edit(f"{MODELING}:{deviation.function}", deviation.old, deviation.new)
    return type(name, (Deviant,), {"name": name, "edits": (edit,), "marked": deviation.module})


globals().update({name: _candidate(name, each) for name, each in {**DEVIATIONS, **FURTHER, **REORDERINGS}.items()})


class _Tapping(Reference):
    """The reference whose tap goes through `heard` first."""

    def forward(self, token_ids: Any, *, prompts: Any = (), tap: Tap) -> Any:
        """Run with the wrapped tap."""
        return super().forward(token_ids, tap=lambda step, value: self.heard(tap, step, value))

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Pass a step on."""
        return tap(step, value)


TAPPED = _in_layer("mlp.up_proj")


class Missing(_Tapping):
    """Does not emit one step."""

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Keep one step back."""
        return value if step == TAPPED else tap(step, value)


class Renamed(_Tapping):
    """Emits one step under another name."""

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Misspell one step."""
        return tap(step + "s" if step == TAPPED else step, value)


class Doubled(_Tapping):
    """Emits one step twice."""

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Say one step twice."""
        return tap(step, tap(step, value)) if step == TAPPED else tap(step, value)


class Transposed(_Tapping):
    """Emits one step with its axes swapped."""

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Swap two axes of one step on its way out and back."""
        return tap(step, value.transpose(-1, -2)).transpose(-1, -2) if step == TAPPED else tap(step, value)


class NotFinite(_Tapping):
    """Has a NaN in one step."""

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Break one element."""
        if step == TAPPED:
            value[0, 0, 0] = np.nan
        return tap(step, value)


class Killed(_Tapping):
    """Is killed at one step, as by the kernel for want of memory."""

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Die behind one step."""
        value = tap(step, value)
        if step == TAPPED:
            os.kill(os.getpid(), signal.SIGKILL)
        return value


class Throwing(_Tapping):
    """Throws at one step."""

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Throw behind one step."""
        value = tap(step, value)
        if step == TAPPED:
            raise RuntimeError("kernel launch failed")
        return value
