"""Runs one of our MLX towers and mlx-vlm's on the same weights and inputs, alternating, and says what it saw.

A process of its own, which `test_mlx_tower_speed` starts: OpenBLAS is preloaded into it, which makes torch slow, and
mlx-vlm puts its own processor in the place of transformers'.

Both sides compute what a picture or a clip adds to a prefill: from pixels or mel features to soft tokens in the
language model's space. mlx-vlm builds the published vision tower, whatever config.json says, so its definition is
replaced where another width is wanted; all else is its own code.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import mlx.core as mx
import mlx_vlm.models.gemma3n.vision as their_vision
import numpy as np
from mlx.nn.layers.activations import GELU
from mlx.nn.layers.base import Module
from mlx_vlm.models.gemma3n.audio import AudioModel
from mlx_vlm.models.gemma3n.config import AudioConfig as TheirAudioConfig
from mlx_vlm.models.gemma3n.config import VisionConfig as TheirVisionConfig
from mlx_vlm.models.gemma3n.gemma3n import Gemma3nMultimodalEmbedder, Model

from benchmarks.speed_model import drawn, in_turns
from implementations.gemma3n.config import AudioConfig, VisionConfig
from implementations.gemma3n.mobilenet import EPS, FUSED, fused_inputs
from implementations.mlx.audio.tower import AudioTower
from implementations.mlx.embedder import MultimodalEmbedder
from implementations.mlx.vision.tower import VisionTower
from implementations.mlx.weights import fill, shapes
from implementations.mlx_vlm.geometry import scaled
from parity.tap import SILENT

Run = Callable[[], mx.array]


@dataclass
class Sides:
    """Both parties on the same weights.

    Attributes:
        ours: soft tokens ``[image or clip, token, hidden]``, lazy.
        theirs: the same of mlx-vlm.
        corrections: what makes mlx-vlm compute what the reference does, by what is amiss; each stays once it is called.
        order: mlx-vlm's tokens in our order.
    """

    ours: Run
    theirs: Run
    corrections: dict[str, Callable[[], None]]
    order: Callable[[mx.array], mx.array]


def vision(*, multiplier: float, side: int, resolution: int, hidden: int) -> Sides:
    """One picture of `side` pixels; towers of `multiplier` times the published channels."""
    config = VisionConfig(channel_multiplier=multiplier, msfa_output_resolution=resolution)
    ours, theirs = Module(), Module()
    ours.vision_tower, ours.embed_vision = VisionTower(config), MultimodalEmbedder(config, hidden)
    theirs.vision_tower = _their_tower(multiplier, resolution)
    theirs.embed_vision = Gemma3nMultimodalEmbedder(config, SimpleNamespace(hidden_size=hidden))
    _load(ours, theirs)
    pixels = mx.array(np.random.default_rng(0).random((1, 3, side, side)).astype(np.float32))
    whole = SimpleNamespace(vision_config=config, vision_soft_tokens_per_image=config.tokens)
    return Sides(
        ours=lambda: ours.embed_vision.soft(ours.vision_tower(pixels, tap=SILENT), tap=SILENT),
        theirs=lambda: Model.get_image_features(pixels, theirs.vision_tower, whole, theirs.embed_vision),
        corrections={
            "padding of strided keys and values": lambda: _set_padding(theirs),
            "form of GELU": lambda: _set_gelu(theirs),
            "epsilon of norms": lambda: _set_epsilon(theirs),
        },
        order=lambda tokens: mx.flatten(mx.unflatten(tokens, 1, (resolution, -1)).swapaxes(1, 2), 1, 2),
    )


def audio(*, width: int, heads: int, frames: int, padded: int, hidden: int) -> Sides:
    """One clip of `frames` of 10 ms, the last `padded` of them silence; three blocks."""
    config = AudioConfig(hidden_size=width, conf_num_attention_heads=heads, conf_num_hidden_layers=3)
    their_config = TheirAudioConfig.from_dict(vars(config))
    ours, theirs = Module(), Module()
    ours.audio_tower, ours.embed_audio = AudioTower(config), MultimodalEmbedder(config, hidden)
    theirs.audio_tower = AudioModel(their_config)
    theirs.embed_audio = Gemma3nMultimodalEmbedder(their_config, SimpleNamespace(hidden_size=hidden))
    _load(ours, theirs)
    mel = mx.array(np.random.default_rng(0).normal(-2, 2, (1, frames, config.input_feat_size)).astype(np.float32))
    sound = mx.arange(frames)[None] < frames - padded
    silence = ~sound
    mx.eval(mel, sound, silence)

    def listen() -> mx.array:
        features, _ = ours.audio_tower(mel, sound, tap=SILENT)
        soft: mx.array = ours.embed_audio.soft(features, tap=SILENT)
        return soft

    return Sides(
        ours=listen,
        theirs=lambda: Model.get_audio_features(theirs, mel, silence)[0],
        corrections={},
        order=lambda tokens: tokens,
    )


def _their_tower(multiplier: float, resolution: int) -> Any:
    """mlx-vlm's vision tower, of another width and resolution than the published where they are asked for."""
    definition = scaled(their_vision.gemma3n_mobilenet_def(), {"channel_multiplier": multiplier})
    with mock.patch.object(their_vision, "gemma3n_mobilenet_def", return_value=definition):
        model = their_vision.VisionModel(TheirVisionConfig())
    model.timm_model.msfa = their_vision.MobileNetV5MultiScaleFusionAdapter(
        in_chs=[fused_inputs(multiplier)], out_chs=FUSED, output_resolution=resolution
    )
    return model


def _load(ours: Module, theirs: Module) -> None:
    """Give both the same weights; mlx-vlm loads names and layout as we do."""
    weights = {name: mx.array(drawn(f"model.{name}", shape)) for name, shape in shapes(ours).items()}
    fill(ours, weights, mx.float32, Path("random"))
    theirs.load_weights([(name, mx.moveaxis(x, 1, -1) if x.ndim > 2 else x) for name, x in weights.items()])
    mx.eval(theirs.parameters())


def _set_epsilon(theirs: Module) -> None:
    """timm's norms have 1e-6; mlx-vlm gives most of them 1e-5."""
    for module in theirs.modules():
        if isinstance(module, their_vision.RMSNormAct2d):
            module.eps = EPS


def _set_gelu(theirs: Module) -> None:
    """timm's activation is the tanh form; mlx-vlm takes the exact one."""
    for module in theirs.modules():
        if isinstance(module, their_vision.RMSNormAct2d) and isinstance(module.act, GELU):
            module.act = GELU("tanh")


def _set_padding(theirs: Module) -> None:
    """timm pads an even side behind alone; mlx-vlm pads it on both, which shifts keys and values by a pixel."""
    for module in theirs.modules():
        if "down_conv" in module:
            convolution = module.down_conv
            same = their_vision.Conv2dSame(1, 1, 1, stride=convolution.stride, dilation=(1, 1), bias=False)
            same.weight, same.groups, same.kernel_size = convolution.weight, convolution.groups, (3, 3)
            module.down_conv = same


def apart(ours: mx.array, theirs: mx.array) -> float:
    """Relative distance of two arrays of one shape."""
    assert ours.shape == theirs.shape
    return float(np.linalg.norm(np.array(ours - theirs)) / np.linalg.norm(np.array(ours)))


def distances(sides: Sides) -> dict[str, float]:
    """How far mlx-vlm's tokens are from ours: as they come, in our order, and with each correction on top."""
    ours, theirs = sides.ours(), sides.theirs()
    mx.eval(ours, theirs)
    found = {"as it comes": apart(ours, theirs), "order of tokens": apart(ours, sides.order(theirs))}
    for name, correct in sides.corrections.items():
        correct()
        found[name] = apart(ours, sides.order(sides.theirs()))
    return found


def main(kind: str, geometry: str, rounds: str) -> None:
    """Print medians of both in seconds, and their distances, as JSON."""
    build: Callable[..., Sides] = {"vision": vision, "audio": audio}[kind]
    sides = build(**json.loads(geometry))
    medians = in_turns(lambda: mx.eval(sides.ours()), lambda: mx.eval(sides.theirs()), int(rounds))
    print(json.dumps({"seconds": medians, "apart": distances(sides)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
