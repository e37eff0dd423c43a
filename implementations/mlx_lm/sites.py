"""Where the installed mlx-lm computes the contract's steps."""

from __future__ import annotations

from implementations.mlx_packages.at import At, Module
from implementations.mlx_packages.text import around_layers, in_layer
from implementations.mlx_packages.views import POSITIONS, Mask
from parity.site import Assigned, Site

SOURCE = Module("mlx_lm.models.gemma3n")
TEXT = "LanguageModel.__call__"

STEPS = (
    At("text.input_ids", SOURCE.parameter(TEXT, "inputs")),
    At("text.embed_tokens", SOURCE.assigned(TEXT, "h", 0)),
    At("{name}.hard", Site("implementations.mlx_lm.hard:fill", Assigned("hard"), ("name",))),  # of a patch alone
    At("text.per_layer_inputs.token", SOURCE.assigned(TEXT, "per_layer_inputs", 0)),
    At("text.per_layer_inputs.out", SOURCE.assigned(TEXT, "per_layer_inputs", 1)),
    At("text.position_ids", SOURCE.assigned(TEXT, "offset", 0, "inputs"), POSITIONS),
    At(
        "text.mask.full_attention",
        SOURCE.assigned(TEXT, "global_mask", 0, "self", "inputs", "cache"),
        Mask("first_full_idx"),
    ),
    At(
        "text.mask.sliding_attention",
        SOURCE.assigned(TEXT, "sliding_window_mask", 0, "self", "inputs", "cache"),
        Mask("first_sliding_idx"),
    ),
    *around_layers(SOURCE, TEXT),
    At("text.norm", SOURCE.assigned(TEXT, "out", 0)),
    At("text.lm_head", SOURCE.assigned(TEXT, "out", 1)),
    At("text.logits", SOURCE.assigned(TEXT, "out", 2)),
    *in_layer(SOURCE),
)
