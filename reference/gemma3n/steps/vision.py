"""The steps of Gemma 3n's vision path, in execution order: pixels to soft tokens.

The tower is timm's MobileNetV5: a stem, four stages of blocks (`vision_block`), and an adapter that fuses the last two
stages. Axes: ``image`` is one picture, however the batch's rows share them; ``token`` counts the fused map's
pixels row by row; ``hidden`` is the language model's width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from parity.contract import Step
from parity.site import Assigned, Parameter
from reference.common.steps import StepAt
from reference.gemma3n.steps.source import RMSNORM, assigned
from reference.gemma3n.steps.vision_block import (
    ACTIVATION,
    ATTENTION_OUT,
    BLOCK_STEPS,
    CONTEXT,
    CONVOLUTION,
    EDGE_OUT,
    EXPANSION,
    INVERTED_OUT,
    KEY,
    LAYER_SCALE,
    NORM,
    NORM_ALONE,
    NORM_INPUT,
    OUTPUT,
    POINTWISE,
    QUERY,
    VALUE,
    step_at,
)

if TYPE_CHECKING:
    from transformers.models.gemma3n.modeling_gemma3n import Gemma3nModel

_TIMM = "timm.models.mobilenetv5"
ENCODER = f"{_TIMM}:MobileNetV5Encoder.forward_features"
FUSION = f"{_TIMM}:MobileNetV5MultiScaleFusionAdapter.forward"

PIXELS = step_at("pixels", "pixels as the tower receives them: 0 to 1, in the working dtype", ENCODER, Parameter("x"))
RESIZED = step_at("msfa.resized", "the last stage's map at the resolution of the one before: nearest neighbour", FUSION,
                  Assigned("img", 0))  # fmt: skip
CONCATENATED = step_at("msfa.concatenated", "both maps, channels behind each other", FUSION,
                       Assigned("channel_cat_imgs"))  # fmt: skip

SOFT = (
    StepAt("vision.soft_tokens", "image token channel", "the fused map as tokens, row by row, x sqrt(hidden_size)",
           assigned("Gemma3nModel.get_image_features", "last_hidden_state", 2), needs="image"),
    StepAt("embed_vision.soft", "image token hidden",
           "soft tokens in the language model's space: norm(projection(norm(tokens)))",
           assigned("Gemma3nModel.forward", "image_features"), paper=RMSNORM, needs="image"),
)  # fmt: skip

VISION_STEPS = (PIXELS, *BLOCK_STEPS, RESIZED, CONCATENATED, *SOFT)
"""Every family of the vision path's steps with its site."""

Placed = tuple[StepAt, str]
"""A family of steps, and the path of the module inside the tower that has it."""


def vision_steps(model: Gemma3nModel) -> Iterator[Step]:
    """The steps of a loaded model's vision path, in execution order."""
    tower: Any = model.vision_tower.timm_model
    for family, path in (*_tower(tower), *((step, "") for step in SOFT)):
        yield family.step(path=path)


def _tower(tower: Any) -> Iterator[Placed]:
    yield PIXELS, ""
    yield from _conv_norm("conv_stem", tower.conv_stem)
    for number, stage in enumerate(tower.blocks):
        for index, block in enumerate(stage):
            yield from WALKS[type(block).__name__](f"blocks.{number}.{index}", block)
    yield RESIZED, ""
    yield CONCATENATED, ""
    yield from _inverted("msfa.ffn", tower.msfa.ffn)
    yield NORM_INPUT, "msfa.norm"
    yield NORM_ALONE, "msfa.norm"


def _edge(path: str, block: Any) -> Iterator[Placed]:
    """Fused inverted residual: a full convolution expands, a 1 x 1 convolution projects."""
    yield EXPANSION, path
    yield from _norm(f"{path}.bn1", block.bn1)
    yield POINTWISE, path
    yield from _norm(f"{path}.bn2", block.bn2)
    yield EDGE_OUT, path


def _inverted(path: str, block: Any) -> Iterator[Placed]:
    """Universal inverted residual: depthwise, 1 x 1 expansion, depthwise, 1 x 1 projection; depthwise ones optional."""
    for name in ("dw_start", "pw_exp", "dw_mid", "pw_proj"):
        part = getattr(block, name)
        if not _is_identity(part):
            yield from _conv_norm(f"{path}.{name}", part)
    if not _is_identity(block.layer_scale):
        yield LAYER_SCALE, f"{path}.layer_scale"
    yield INVERTED_OUT, path


def _attention(path: str, block: Any) -> Iterator[Placed]:
    """Multi-query attention over all pixels; keys and values may be of a map at half the resolution."""
    yield from _norm(f"{path}.norm", block.norm)
    yield QUERY, f"{path}.attn"
    for name, projected in (("key", KEY), ("value", VALUE)):
        if hasattr(getattr(block.attn, name), "norm"):
            yield NORM_INPUT, f"{path}.attn.{name}.norm"
            yield NORM_ALONE, f"{path}.attn.{name}.norm"
        yield projected, f"{path}.attn"
    yield CONTEXT, f"{path}.attn"
    yield OUTPUT, f"{path}.attn"
    yield LAYER_SCALE, f"{path}.layer_scale"
    yield ATTENTION_OUT, path


def _conv_norm(path: str, module: Any) -> Iterator[Placed]:
    yield CONVOLUTION, path
    yield from _norm(f"{path}.bn", module.bn)


def _norm(path: str, module: Any) -> Iterator[Placed]:
    yield NORM, path
    if not _is_identity(module.act):
        yield ACTIVATION, f"{path}.act"


def _is_identity(module: Any) -> bool:
    return type(module).__name__ == "Identity"


WALKS = {"EdgeResidual": _edge, "UniversalInvertedResidual": _inverted, "MobileAttention": _attention}
"""The steps of a block, by its class in timm."""
