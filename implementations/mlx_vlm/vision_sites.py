"""Where the installed mlx-vlm computes the steps of the vision tower and its embedder.

Its norms work with channels first and hold their activation; the fusion adapter's block works on columns before rows.
``{path}`` is a module of the tower and ``{fused}`` one of the adapter; ``{active}`` and ``{fused_active}`` are norms
with an activation, ``{bare}`` and ``{fused_bare}`` those whose input is a step.
"""

from __future__ import annotations

from implementations.mlx_packages.at import At, Module
from implementations.mlx_vlm.views import CHANNELS_LAST, COLUMNS_FIRST, COLUMNS_LAST

SOURCE, MODEL = Module("mlx_vlm.models.gemma3n.vision"), Module("mlx_vlm.models.gemma3n.gemma3n")

TOWER, FUSION = "VisionTower.__call__", "MobileNetV5MultiScaleFusionAdapter.__call__"
CONV_NORM, NORM = "ConvNormAct.__call__", "RMSNormAct2d.__call__"
EDGE, INVERTED = "EdgeResidual.__call__", "UniversalInvertedResidual.__call__"
AROUND, ATTENTION = "MobileAttention.__call__", "MultiQueryAttention2d.__call__"
FEATURES = "Model.get_image_features"

NORM_STEPS = (
    At("vision.{path}", SOURCE.assigned(NORM, "x", 1), CHANNELS_LAST),
    At("vision.{active}.act", SOURCE.assigned(NORM, "x", 3), CHANNELS_LAST),
    At("vision.{bare}.input", SOURCE.parameter(NORM, "x")),
    At("vision.{fused}", SOURCE.assigned(NORM, "x", 1), COLUMNS_LAST),
    At("vision.{fused_active}.act", SOURCE.assigned(NORM, "x", 3), COLUMNS_LAST),
    At("vision.{fused_bare}.input", SOURCE.parameter(NORM, "x"), COLUMNS_FIRST),
)

BLOCK_STEPS = (
    At("vision.{path}.conv", SOURCE.assigned(CONV_NORM, "c")),
    At("vision.{fused}.conv", SOURCE.assigned(CONV_NORM, "c"), COLUMNS_FIRST),
    At("vision.{path}.conv_exp", SOURCE.assigned(EDGE, "x", 0)),
    At("vision.{path}.conv_pwl", SOURCE.assigned(EDGE, "x", 2)),
    At("vision.{path}.out", SOURCE.returned(EDGE)),
    At("vision.{path}.out", SOURCE.returned(INVERTED)),
    At("vision.{fused}.out", SOURCE.returned(INVERTED), COLUMNS_FIRST),
    At("vision.{path}", SOURCE.returned("LayerScale2d.__call__")),
    At("vision.{path}.query", SOURCE.assigned(ATTENTION, "q", 0)),
    At("vision.{path}.key", SOURCE.assigned(ATTENTION, "k", 0)),
    At("vision.{path}.value", SOURCE.assigned(ATTENTION, "v", 0)),
    At("vision.{path}.context", SOURCE.assigned(ATTENTION, "o", 1)),
    At("vision.{path}.output", SOURCE.returned(ATTENTION)),
    At("vision.{path}.out", SOURCE.returned(AROUND)),
)

VISION_STEPS = (
    At("vision.pixels", SOURCE.assigned(TOWER, "x", 0)),
    *NORM_STEPS,
    *BLOCK_STEPS,
    At("vision.msfa.resized", SOURCE.assigned(FUSION, "img", 0), CHANNELS_LAST),
    At("vision.msfa.concatenated", SOURCE.assigned(FUSION, "channel_cat_imgs"), CHANNELS_LAST),
    At("vision.soft_tokens", MODEL.assigned(FEATURES, "vision_outputs", 3)),
    At("embed_vision.soft", MODEL.returned(FEATURES)),
)
