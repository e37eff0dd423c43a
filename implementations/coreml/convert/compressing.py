"""Matrices in fewer bits: palettes by k-means, or integers with a scale for each row. By coremltools' own tools."""

from __future__ import annotations

from typing import Any

from implementations.coreml.package.settings import WEIGHTS, Settings
from implementations.coreml.package.tools import coremltools

SMALL = 512
"""Numbers of a matrix that stays as it is: a palette would take as much."""


def compressed(model: Any, settings: Settings) -> Any:
    """A converted model whose convolutions have their weights in the format that is asked for."""
    if not settings.weights:
        return model
    optimize = coremltools.optimize.coreml
    if settings.weights == "int8":
        one = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8", weight_threshold=SMALL)
        return optimize.linear_quantize_weights(model, optimize.OptimizationConfig(op_type_configs={"conv": one}))
    grouped: dict[str, Any] = (
        {"granularity": "per_grouped_channel", "group_size": settings.group} if settings.group else {}
    )
    one = optimize.OpPalettizerConfig(mode="kmeans", nbits=WEIGHTS[settings.weights], weight_threshold=SMALL, **grouped)
    return optimize.palettize_weights(model, optimize.OptimizationConfig(op_type_configs={"conv": one}))
