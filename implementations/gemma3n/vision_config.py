"""Configuration of the vision tower: the published MobileNetV5, or a narrower or wider one of the same blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from implementations.gemma3n.fields import build
from implementations.gemma3n.mobilenet import ARCHITECTURE, FUSED
from implementations.gemma3n.modality import ModalityConfig
from parity.errors import UsageError

MODEL_ARGS = ("channel_multiplier", "msfa_output_resolution")


@dataclass(frozen=True)
class VisionConfig(ModalityConfig):
    """The vision tower and its embedder.

    Attributes:
        architecture: timm's name of the tower.
        channel_multiplier: channels over the published ones; the fused map keeps its 2048.
        msfa_output_resolution: height and width of the fused map, whose pixels are the soft tokens.

    Raises:
        UsageError: where fields ask for what is not implemented.
    """

    vocab_offset: int = 262_144
    architecture: str = ARCHITECTURE
    channel_multiplier: float = 1.0
    msfa_output_resolution: int = 16

    def __post_init__(self) -> None:
        _require_vision(self)

    @property
    def tokens(self) -> int:
        """Soft tokens of one image."""
        return self.msfa_output_resolution**2

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> VisionConfig:
        """Read the `vision_config` section of config.json; timm takes `model_args` besides the architecture's name."""
        arguments = data.get("model_args")
        arguments = {} if arguments is None else arguments
        if not isinstance(arguments, Mapping):
            raise UsageError(f"config.json: vision_config.model_args is {arguments!r}, no object")
        if unknown := sorted(set(arguments) - set(MODEL_ARGS)):
            known = " and ".join(MODEL_ARGS)
            raise UsageError(f"config.json: vision_config.model_args.{unknown[0]}: only {known} are implemented")
        fields = {name: value for name, value in data.items() if name not in MODEL_ARGS}
        return build(cls, {**fields, **arguments}, "vision_config")


def _require_vision(config: VisionConfig) -> None:
    for name, value in vars(config).items():
        if type(value) in (int, float) and name != "vocab_offset" and not value > 0:
            raise UsageError(f"config.json: vision_config.{name} is {value}, not positive")
    if config.architecture != ARCHITECTURE:
        raise UsageError(f"config.json: vision_config.architecture {config.architecture!r}: only {ARCHITECTURE!r}")
    if config.hidden_size != FUSED:
        raise UsageError(f"config.json: vision_config.hidden_size is {config.hidden_size}; the tower gives {FUSED}")
