"""Where the packages compute the language model's steps: they call what they compute by the same names.

Values are taken where a name is given to them. What has no name is a call's argument, or the result of a linear layer,
which its place in the model tells from others: the projections of the streams go straight into a list.
"""

from __future__ import annotations

import re

from implementations.mlx_packages.at import LINEAR, QUANTIZED, At, Module
from implementations.mlx_packages.views import IN_PLACE, KEYS, SWAPPED, Row

STREAMS = 4
"""AltUp's streams in every published checkpoint; of another number, the steps of the others stay uncovered."""

_LAYER = re.compile(r"language_model\.(?:model\.)?layers\.(\d+)")
_PROJECTION = re.compile(r"language_model\.(?:model\.)?altup_(?:(unembed)_)?projections\.(\d+)$")


def place_of(module: str) -> dict[str, str]:
    """Where a module of the language model stands: ``layer``, or ``embed`` or ``unembed``, the stream it makes."""
    if found := _LAYER.search(module):
        return {"layer": found[1]}
    if found := _PROJECTION.search(module):
        return {"unembed" if found[1] else "embed": str(int(found[2]) + 1)}
    return {}


def around_layers(source: Module, text: str) -> tuple[At, ...]:
    """Steps between the embeddings and the last norm; `text` is the function that loops over the layers."""
    project = f"{text.rpartition('.')[0]}.project_per_layer_inputs"
    embed, unembed = source.passed(text, "layer", 0, 0, "i"), source.passed(text, "mx.mean", 0, 4)
    magnitudes, unmagnitudes = source.assigned(text, "mags", 0), source.assigned(text, "mags", 1)
    return (
        At("text.inputs_embeds", source.passed(text, "self.project_per_layer_inputs", 0), IN_PLACE),
        At("text.per_layer_inputs.projection", source.assigned(project, "per_layer_projection", 1)),
        At("text.per_layer_inputs.projection_norm", source.assigned(project, "per_layer_projection", 2)),
        At("text.altup.embed.target_magnitude", source.assigned(text, "target_magnitude", 0)),
        *(At("text.altup.embed.{embed}.projection", site) for site in (LINEAR, QUANTIZED)),
        *(At(f"text.altup.embed.{i}.magnitude", magnitudes, Row(i - 1)) for i in range(1, STREAMS)),
        *(At(f"text.altup.embed.{i}.out", embed, Row(i), first=True) for i in range(1, STREAMS)),
        At("text.altup.embed.out", embed, first=True),
        At("text.altup.unembed.target_magnitude", source.assigned(text, "target_magnitude", 1)),
        *(At("text.altup.unembed.{unembed}.projection", site) for site in (LINEAR, QUANTIZED)),
        *(At(f"text.altup.unembed.{i}.magnitude", unmagnitudes, Row(i - 1)) for i in range(1, STREAMS)),
        *(At(f"text.altup.unembed.{i}.out", unembed, Row(i)) for i in range(1, STREAMS)),
        At("text.altup.unembed.out", source.assigned(text, "h", 4)),
    )


LAYER, MLP, TOPK = "Gemma3nDecoderLayer.__call__", "MLP.__call__", "gelu_topk"
LAUREL, ATTENTION = "Gemma3nLaurelBlock.__call__", "Gemma3nAttention.__call__"
PREDICT, CORRECT = "Gemma3nAltUp.predict", "Gemma3nAltUp.correct"
ROUTER = "Gemma3nAltUp.compute_router_modalities"
ATTEND = "scaled_dot_product_attention"


def in_layer(source: Module) -> tuple[At, ...]:
    """The steps of a decoder layer."""
    parts = (*_altup(source), *_attention(source), *_feed_forward(source), *_layer(source))
    return tuple(At(f"text.layers.{{layer}}.{at.name}", at.site, at.view, at.caller, at.first) for at in parts)


def _altup(source: Module) -> tuple[At, ...]:
    return (
        *_router(source, "predict"),
        At("altup.predict.coefs", source.assigned(PREDICT, "all_coefs")),
        At("altup.predict.mixed", source.assigned(PREDICT, "predictions", 1)),
        At("altup.predict.out", source.returned(PREDICT)),
        *_router(source, "correct"),
        At("altup.correct.innovation", source.assigned(CORRECT, "innovation")),
        At("altup.correct.coefs", source.assigned(CORRECT, "all_coefs", 0)),
        At("altup.correct.out", source.returned(CORRECT)),
    )


def _router(source: Module, caller: str) -> tuple[At, ...]:
    scope = f"altup.{caller}"
    return (
        At(f"{scope}.router_input", source.assigned(ROUTER, "router_inputs"), caller=caller),
        At(f"{scope}.routed", source.assigned(ROUTER, "routed"), caller=caller),
        At(f"{scope}.modalities", source.returned(ROUTER), caller=caller),
    )


def _attention(source: Module) -> tuple[At, ...]:
    return (
        At("attn.q_proj", source.assigned(ATTENTION, "queries", 1)),
        At("attn.q_norm", source.assigned(ATTENTION, "queries", 2)),
        At("attn.q_rope", source.assigned(ATTENTION, "queries", 4), SWAPPED),
        At("attn.k_proj", source.assigned(ATTENTION, "keys", 1)),
        At("attn.k_norm", source.assigned(ATTENTION, "keys", 2)),
        At("attn.k_rope", source.assigned(ATTENTION, "keys", 4), SWAPPED),
        At("attn.v_proj", source.assigned(ATTENTION, "values", 1)),
        At("attn.v_norm", source.assigned(ATTENTION, "values", 2)),
        At("attn.keys", source.passed(ATTENTION, ATTEND, 1, 0, "cache"), KEYS),
        At("attn.values", source.passed(ATTENTION, ATTEND, 2, 0, "cache"), KEYS),
        At("attn.context", source.assigned(ATTENTION, "output", 0), SWAPPED),
        At("attn.o_proj", source.returned(ATTENTION)),
    )


def _feed_forward(source: Module) -> tuple[At, ...]:
    return (
        At("mlp.gate_proj", source.assigned(MLP, "gate_proj")),
        At("mlp.gate_mean", source.assigned(TOPK, "inputs_mean")),
        At("mlp.gate_std", source.assigned(TOPK, "inputs_std")),
        At("mlp.cutoff", source.assigned(TOPK, "cutoff_x")),
        At("mlp.gate_sparse", source.passed(TOPK, "nn.gelu_approx", 0)),
        At("mlp.activations", source.assigned(MLP, "activations", 0)),
        At("mlp.activations", source.assigned(MLP, "activations", 1)),
        At("mlp.up_proj", source.assigned(MLP, "up_proj")),
        At("mlp.product", source.passed(MLP, "self.down_proj", 0)),
        At("mlp.down_proj", source.assigned(MLP, "down_proj")),
    )


def _layer(source: Module) -> tuple[At, ...]:
    return (
        At("input_layernorm", source.assigned(LAYER, "active_prediction_normed")),
        At("laurel.left", source.assigned(LAUREL, "laurel_x", 0)),
        At("laurel.right", source.assigned(LAUREL, "laurel_x", 1)),
        At("laurel.normed", source.assigned(LAUREL, "normed_laurel_x")),
        At("laurel.out", source.returned(LAUREL)),
        At("post_attention_layernorm", source.assigned(LAYER, "attn", 1)),
        At("attn_gated", source.assigned(LAYER, "attn_gated")),
        At("attn_laurel", source.assigned(LAYER, "attn_laurel")),
        At("pre_feedforward_layernorm", source.assigned(LAYER, "attn_norm")),
        At("post_feedforward_layernorm", source.assigned(LAYER, "attn_ffw_norm")),
        At("activated", source.assigned(LAYER, "attn_ffw_laurel_gated")),
        At("altup.correct.scaled", source.assigned(LAYER, "first_prediction", 1)),
        At("per_layer_input_gate", source.assigned(LAYER, "first_prediction", 2)),
        At("per_layer_activation", source.assigned(LAYER, "first_prediction", 3)),
        At("per_layer_gated", source.assigned(LAYER, "first_prediction", 4)),
        At("per_layer_projection", source.assigned(LAYER, "first_prediction", 5)),
        At("post_per_layer_input_norm", source.assigned(LAYER, "first_prediction", 6)),
        At("out", source.returned(LAYER)),
    )
