"""The vision tower's definition in the width that a checkpoint's configuration has: part of a patch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from implementations.gemma3n.mobilenet import divisible
from implementations.gemma3n.mobilenet import fused_inputs as fused

Definition = list[list[Any]]


def scaled(definition: Definition, arguments: Mapping[str, Any]) -> Definition:
    """The blocks of each stage with as many channels as `arguments`, a configuration's ``model_args``, ask for."""
    factor = arguments.get("channel_multiplier", 1.0)

    def narrowed(block: Any) -> Any:
        return replace(block, filters=divisible(block.filters * factor)) if hasattr(block, "filters") else block

    return [[narrowed(block) for block in stage] for stage in definition]


def fused_inputs(arguments: Mapping[str, Any]) -> int:
    """Channels that the fusion adapter takes."""
    return fused(arguments.get("channel_multiplier", 1.0))


def resolution(arguments: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of the fused map."""
    side = arguments.get("msfa_output_resolution", 16)
    return side, side
