"""Where the installed mlx-lm computes the contract's steps.

Values are taken where a name is given to them. What has no name is a call's argument, or the result of a linear layer,
which its place in the model tells from others: the projections of the streams go straight into a list.
"""

from __future__ import annotations

from dataclasses import dataclass

from implementations.mlx_lm.views import FULL, IN_PLACE, KEYS, PLAIN, POSITIONS, SLIDING, SWAPPED, Row, View
from parity.weave import Assigned, Parameter, Passed, Returned, Site

MODELING = "mlx_lm.models.gemma3n"
LINEAR = Site("mlx.nn.layers.linear:Linear.__call__", Returned())
STREAMS = 4
"""AltUp's streams in every published checkpoint; of another number, the steps of the others stay uncovered."""


@dataclass(frozen=True)
class At:
    """A step, or a family of steps, at a site.

    Attributes:
        name: with placeholders for where the owner is in the model: ``{layer}``, or ``{embed}`` and ``{unembed}``, the
            stream that a projection makes; or for a local variable of the site. An owner that is elsewhere does not
            have the step.
        site: where the value is.
        view: what the value is in the contract's form, and back.
        caller: the function that must have called the site's function; empty for any.
        first: whether only the first pass of a loop over layers has the step.
    """

    name: str
    site: Site
    view: View = PLAIN
    caller: str = ""
    first: bool = False


def assigned(function: str, variable: str, occurrence: int = 0, *uses: str) -> Site:
    """Site behind an assignment."""
    return Site(f"{MODELING}:{function}", Assigned(variable, occurrence), uses)


def passed(function: str, callee: str, position: int, occurrence: int = 0, *uses: str) -> Site:
    """Site at an argument of a call."""
    return Site(f"{MODELING}:{function}", Passed(callee, position, occurrence), uses)


def returned(function: str) -> Site:
    """Site at a function's returned value."""
    return Site(f"{MODELING}:{function}", Returned())


TEXT, PROJECT = "LanguageModel.__call__", "LanguageModel.project_per_layer_inputs"
MAGNITUDES, UNMAGNITUDES = assigned(TEXT, "mags", 0), assigned(TEXT, "mags", 1)
EMBED, UNEMBED = passed(TEXT, "layer", 0, 0, "i"), passed(TEXT, "mx.mean", 0, 4)

TEXT_STEPS = (
    At("text.input_ids", Site(f"{MODELING}:{TEXT}", Parameter("inputs"))),
    At("text.embed_tokens", assigned(TEXT, "h", 0)),
    At("{name}.hard", Site("implementations.mlx_lm.hard:fill", Assigned("hard"), ("name",))),  # of a patch alone
    At("text.inputs_embeds", passed(TEXT, "self.project_per_layer_inputs", 0), IN_PLACE),
    At("text.per_layer_inputs.token", assigned(TEXT, "per_layer_inputs", 0)),
    At("text.per_layer_inputs.projection", assigned(PROJECT, "per_layer_projection", 1)),
    At("text.per_layer_inputs.projection_norm", assigned(PROJECT, "per_layer_projection", 2)),
    At("text.per_layer_inputs.out", assigned(TEXT, "per_layer_inputs", 1)),
    At("text.position_ids", assigned(TEXT, "offset", 0, "inputs"), POSITIONS),
    At("text.mask.full_attention", assigned(TEXT, "global_mask", 0, "self", "inputs", "cache"), FULL),
    At("text.mask.sliding_attention", assigned(TEXT, "sliding_window_mask", 0, "self", "inputs", "cache"), SLIDING),
    At("text.altup.embed.target_magnitude", assigned(TEXT, "target_magnitude", 0)),
    At("text.altup.embed.{embed}.projection", LINEAR),
    *(At(f"text.altup.embed.{i}.magnitude", MAGNITUDES, Row(i - 1)) for i in range(1, STREAMS)),
    *(At(f"text.altup.embed.{i}.out", EMBED, Row(i), first=True) for i in range(1, STREAMS)),
    At("text.altup.embed.out", EMBED, first=True),
    At("text.altup.unembed.target_magnitude", assigned(TEXT, "target_magnitude", 1)),
    At("text.altup.unembed.{unembed}.projection", LINEAR),
    *(At(f"text.altup.unembed.{i}.magnitude", UNMAGNITUDES, Row(i - 1)) for i in range(1, STREAMS)),
    *(At(f"text.altup.unembed.{i}.out", UNEMBED, Row(i)) for i in range(1, STREAMS)),
    At("text.altup.unembed.out", assigned(TEXT, "h", 4)),
    At("text.norm", assigned(TEXT, "out", 0)),
    At("text.lm_head", assigned(TEXT, "out", 1)),
    At("text.logits", assigned(TEXT, "out", 2)),
)

LAYER, MLP, TOPK = "Gemma3nDecoderLayer.__call__", "MLP.__call__", "gelu_topk"
LAUREL, ATTENTION = "Gemma3nLaurelBlock.__call__", "Gemma3nAttention.__call__"
PREDICT, CORRECT = "Gemma3nAltUp.predict", "Gemma3nAltUp.correct"
ROUTER = "Gemma3nAltUp.compute_router_modalities"
ATTEND = "scaled_dot_product_attention"


def _router(caller: str) -> tuple[At, ...]:
    scope = f"altup.{caller}"
    return (
        At(f"{scope}.router_input", assigned(ROUTER, "router_inputs"), caller=caller),
        At(f"{scope}.routed", assigned(ROUTER, "routed"), caller=caller),
        At(f"{scope}.modalities", returned(ROUTER), caller=caller),
    )


IN_LAYER = (
    *_router("predict"),
    At("altup.predict.coefs", assigned(PREDICT, "all_coefs")),
    At("altup.predict.mixed", assigned(PREDICT, "predictions", 1)),
    At("altup.predict.out", returned(PREDICT)),
    At("input_layernorm", assigned(LAYER, "active_prediction_normed")),
    At("laurel.left", assigned(LAUREL, "laurel_x", 0)),
    At("laurel.right", assigned(LAUREL, "laurel_x", 1)),
    At("laurel.normed", assigned(LAUREL, "normed_laurel_x")),
    At("laurel.out", returned(LAUREL)),
    At("attn.q_proj", assigned(ATTENTION, "queries", 1)),
    At("attn.q_norm", assigned(ATTENTION, "queries", 2)),
    At("attn.q_rope", assigned(ATTENTION, "queries", 4), SWAPPED),
    At("attn.k_proj", assigned(ATTENTION, "keys", 1)),
    At("attn.k_norm", assigned(ATTENTION, "keys", 2)),
    At("attn.k_rope", assigned(ATTENTION, "keys", 4), SWAPPED),
    At("attn.v_proj", assigned(ATTENTION, "values", 1)),
    At("attn.v_norm", assigned(ATTENTION, "values", 2)),
    At("attn.keys", passed(ATTENTION, ATTEND, 1, 0, "cache"), KEYS),
    At("attn.values", passed(ATTENTION, ATTEND, 2, 0, "cache"), KEYS),
    At("attn.context", assigned(ATTENTION, "output", 0), SWAPPED),
    At("attn.o_proj", returned(ATTENTION)),
    At("post_attention_layernorm", assigned(LAYER, "attn", 1)),
    At("attn_gated", assigned(LAYER, "attn_gated")),
    At("attn_laurel", assigned(LAYER, "attn_laurel")),
    At("pre_feedforward_layernorm", assigned(LAYER, "attn_norm")),
    At("mlp.gate_proj", assigned(MLP, "gate_proj")),
    At("mlp.gate_mean", assigned(TOPK, "inputs_mean")),
    At("mlp.gate_std", assigned(TOPK, "inputs_std")),
    At("mlp.cutoff", assigned(TOPK, "cutoff_x")),
    At("mlp.gate_sparse", passed(TOPK, "nn.gelu_approx", 0)),
    At("mlp.activations", assigned(MLP, "activations", 0)),
    At("mlp.activations", assigned(MLP, "activations", 1)),
    At("mlp.up_proj", assigned(MLP, "up_proj")),
    At("mlp.product", passed(MLP, "self.down_proj", 0)),
    At("mlp.down_proj", assigned(MLP, "down_proj")),
    At("post_feedforward_layernorm", assigned(LAYER, "attn_ffw_norm")),
    At("activated", assigned(LAYER, "attn_ffw_laurel_gated")),
    *_router("correct"),
    At("altup.correct.innovation", assigned(CORRECT, "innovation")),
    At("altup.correct.coefs", assigned(CORRECT, "all_coefs", 0)),
    At("altup.correct.out", returned(CORRECT)),
    At("altup.correct.scaled", assigned(LAYER, "first_prediction", 1)),
    At("per_layer_input_gate", assigned(LAYER, "first_prediction", 2)),
    At("per_layer_activation", assigned(LAYER, "first_prediction", 3)),
    At("per_layer_gated", assigned(LAYER, "first_prediction", 4)),
    At("per_layer_projection", assigned(LAYER, "first_prediction", 5)),
    At("post_per_layer_input_norm", assigned(LAYER, "first_prediction", 6)),
    At("out", returned(LAYER)),
)

LAYER_STEPS = tuple(
    At("text.layers.{layer}." + step.name, step.site, step.view, step.caller, step.first) for step in IN_LAYER
)
STEPS = (*TEXT_STEPS, *LAYER_STEPS)
