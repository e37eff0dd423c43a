"""Where the installed mlx-vlm computes the contract's steps.

The language model has two entries: embeddings, which `get_input_embeddings` makes of a prompt, and token ids, for what
the model itself has said. A step of both has a site in either.
"""

from __future__ import annotations

import re

from mlx.nn.layers import base
from mlx.nn.layers.activations import GELU

import implementations.mlx_vlm.imports  # noqa: F401  # before any of the package
from implementations.mlx_packages.at import At, Module
from implementations.mlx_packages.text import around_layers, in_layer
from implementations.mlx_packages.text import place_of as in_language_model
from implementations.mlx_packages.views import Mask
from implementations.mlx_vlm.audio_sites import AUDIO_STEPS
from implementations.mlx_vlm.views import CLIPS
from implementations.mlx_vlm.vision_sites import VISION_STEPS
from parity.site import Assigned, Site

SOURCE, MODEL = Module("mlx_vlm.models.gemma3n.language"), Module("mlx_vlm.models.gemma3n.gemma3n")
TEXT, HEAD, EMBED = "Gemma3Model.__call__", "LanguageModel.__call__", "Model.get_input_embeddings"

EMBEDDING_STEPS = (
    At("processor.waveform", Module("mlx_vlm.utils").assigned("prepare_inputs", "audio", 2), CLIPS),
    At("text.input_ids", MODEL.parameter(EMBED, "input_ids")),
    At("text.input_ids", SOURCE.passed(TEXT, "self.embed_tokens", 0)),
    At("text.embed_tokens", MODEL.assigned(EMBED, "inputs_embeds", 0)),
    At("text.embed_tokens", SOURCE.assigned(TEXT, "h", 0)),
    At("text.per_layer_inputs.token", SOURCE.returned("Gemma3Model.get_per_layer_inputs")),
    At("embed_vision.hard", MODEL.assigned(EMBED, "vision_embeds_flat")),
    At("embed_audio.hard", MODEL.assigned(EMBED, "audio_embeds_flat")),
    At("{name}.hard", Site("implementations.mlx_vlm.hard:fill", Assigned("hard"), ("name",))),  # of a patch alone
    At("text.merged.image", MODEL.assigned(EMBED, "inputs_embeds", 3)),
    At("text.merged.audio", MODEL.assigned(EMBED, "inputs_embeds", 4)),
)

TEXT_STEPS = (
    At("text.per_layer_inputs.out", SOURCE.assigned(TEXT, "per_layer_inputs", 3)),
    At(
        "text.mask.full_attention",
        SOURCE.assigned(TEXT, "full_mask", 0, "self", "h", "cache"),
        Mask("first_full_idx", tokens="h"),
    ),
    At(
        "text.mask.sliding_attention",
        SOURCE.assigned(TEXT, "sliding_window_mask", 0, "self", "h", "cache"),
        Mask("first_sliding_idx", tokens="h"),
    ),
    *around_layers(SOURCE, TEXT),
    At("text.norm", SOURCE.assigned(HEAD, "out", 0)),
    At("text.lm_head", SOURCE.assigned(HEAD, "out", 1)),
    At("text.logits", SOURCE.assigned(HEAD, "out", 2)),
    *in_layer(SOURCE),
)

STEPS = (*EMBEDDING_STEPS, *TEXT_STEPS, *VISION_STEPS, *AUDIO_STEPS)

_TOWER = re.compile(r"(audio_tower|vision_tower\.timm_model)\.(.+)")
_BARE = re.compile(r".*\.attn\.(key|value)\.norm|msfa\.norm")
"""Norms that the reference has without an activation, and whose input is a step."""


def place_of(name: str, module: base.Module) -> dict[str, str]:
    """Where a module stands, from its name in the model: what the placeholders of the steps' names stand for."""
    if not (found := _TOWER.fullmatch(name)):
        return in_language_model(name)
    tower, path = found.groups()
    prefix = "fused" if tower != "audio_tower" and path.startswith("msfa.") else "path"
    place = {prefix: path}
    if isinstance(getattr(module, "act", None), GELU):
        place["active" if prefix == "path" else "fused_active"] = path
    if _BARE.fullmatch(path):
        place["bare" if prefix == "path" else "fused_bare"] = path
    return place
