"""The graphs of the encoders, with the names, inputs and outputs of the package that is published.

`vision_encoder` makes soft tokens of pictures, whose height and width are constants of the graph. `audio_encoder` makes
them of sounds of any length.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from implementations.gemma3n.config import Config
from implementations.onnx.audio.encoder import AudioEncoder
from implementations.onnx.export.assembly import finished
from implementations.onnx.export.text import Made
from implementations.onnx.export.tracing import Operand, traced
from implementations.onnx.package.folder import AUDIO, VISION, Picture
from implementations.onnx.vision.encoder import VisionEncoder
from parity.tap import Tap


def graphs(config: Config, picture: Picture | None) -> Iterator[tuple[str, Made]]:
    """The name of each encoder's graph, and the graph with its steps; a language model alone has none.

    Args:
        config: the model's.
        picture: height and width of pictures; None for a model that takes none.
    """
    if picture is not None:
        yield VISION, vision(config, picture)
    if not config.text_only:
        yield AUDIO, audio(config)


def parameters(config: Config, picture: Picture | None) -> set[str]:
    """Names of all weights of the graphs; no memory is allocated."""
    with torch.device("meta"):
        modules: list[nn.Module] = [_vision(config)] if picture is not None else []
        modules += [] if config.text_only else [_audio(config)]
    return {name for module in modules for name, _ in module.named_parameters()}


def vision(config: Config, picture: Picture) -> Made:
    """Any number of pictures to soft tokens."""
    pixels = [Operand("pixel_values", ("image", 3, *picture))]
    features = [Operand("image_features", ("image", config.vision.tokens, config.text.hidden_size))]

    def call(body: VisionEncoder, pixel_values: Tensor, *, tap: Tap) -> tuple[Tensor, ...]:
        return (body(pixel_values, tap=tap),)

    graph = traced(lambda: _vision(config), call, pixels, ["image_features"], rewritten=False)
    return finished(graph, pixels, features, "")


def audio(config: Config) -> Made:
    """Any number of sounds, padded to one length, to soft tokens, as many for each."""
    frames = ("clip", "frame")
    inputs = [
        Operand("input_features", (*frames, config.audio.input_feat_size)),
        Operand("input_features_mask", frames, torch.bool),
    ]
    shape = ("clip", config.audio_soft_tokens_per_image, config.text.hidden_size)

    def call(body: AudioEncoder, features: Tensor, mask: Tensor, *, tap: Tap) -> tuple[Tensor, ...]:
        return (body(features, mask, tap=tap),)

    graph = traced(lambda: _audio(config), call, inputs, ["audio_features"], rewritten=False)
    return finished(graph, inputs, [Operand("audio_features", shape)], "")


def _vision(config: Config) -> VisionEncoder:
    return VisionEncoder(config.vision, config.text.hidden_size)


def _audio(config: Config) -> AudioEncoder:
    return AudioEncoder(config.audio, config.text.hidden_size, config.audio_soft_tokens_per_image)
