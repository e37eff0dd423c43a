"""Where a module of the installed mlx-vlm stands, from its name in the model: the placeholders of the steps' names."""

from __future__ import annotations

import re

from mlx.nn.layers.activations import GELU
from mlx.nn.layers.base import Module

from implementations.mlx_packages.text import place_of as in_language_model

_TOWER = re.compile(r"(audio_tower|vision_tower\.timm_model)\.(.+)")
_BARE = re.compile(r".*\.attn\.(key|value)\.norm|msfa\.norm")
"""Norms that the reference has without an activation, and whose input is a step."""


def place_of(name: str, module: Module) -> dict[str, str]:
    """The placeholders that a module's place stands for, see the tables of sites."""
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
