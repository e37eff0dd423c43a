"""Checkpoints that hold an audio tower of any configuration and nothing else, drawn at random."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Gemma3nAudioConfig
from transformers.initialization import no_init_weights
from transformers.models.gemma3n.modeling_gemma3n import Gemma3nAudioEncoder

from reference.common.arithmetics import arithmetic, prepare
from reference.common.drawing import Bell
from reference.gemma3n.tables import TABLES
from reference.tiny import path
from tools.tiny.weights import rule

TOWER = "model.audio_tower."


def write(folder: Path, **fields) -> Path:
    """A checkpoint whose tower's configuration is transformers' default but for `fields`; weights are bfloat16."""
    config = json.loads((path() / "config.json").read_text())
    config["audio_config"] = {**Gemma3nAudioConfig(**fields).to_dict(), "vocab_offset": 640}
    (folder / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        tower = Gemma3nAudioEncoder(Gemma3nAudioConfig(**fields))
    generator = torch.Generator().manual_seed(0)
    shapes = {TOWER + name: tensor.shape for name, tensor in tower.state_dict().items()}
    save_file({name: _draw(name, shape, generator) for name, shape in shapes.items()}, folder / "model.safetensors")
    return folder


def _draw(name, shape, generator):
    """From the distribution that the embedded checkpoint's tensor of that name is drawn from."""
    draw = rule(name).draw
    if isinstance(draw, Bell):
        scale = draw.std / (math.sqrt(math.prod(shape[1:])) if draw.fan_in else 1.0)
        return (torch.randn(shape, generator=generator) * scale).bfloat16()
    return (draw.low + (draw.high - draw.low) * torch.rand(shape, generator=generator)).bfloat16()


class Alone(nn.Module):
    """Transformers' audio tower of a checkpoint, without the rest of the model."""

    def __init__(self, folder: Path, dtype: str) -> None:
        super().__init__()
        chosen = arithmetic(dtype)
        config = Gemma3nAudioConfig(**json.loads((folder / "config.json").read_text())["audio_config"])
        with chosen.loading(), no_init_weights():
            self.audio_tower = Gemma3nAudioEncoder(config).to(getattr(torch, chosen.storage)).eval()
        weights = load_file(folder / "model.safetensors")
        self.audio_tower.load_state_dict({name.removeprefix(TOWER): value for name, value in weights.items()})
        prepare(self, TABLES, chosen)

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        return self.audio_tower.dtype
