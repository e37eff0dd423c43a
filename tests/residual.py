"""A checkpoint whose residual stream leaves fp16's range, as those of large models do."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from reference.tiny import path

FACTOR = 4096.0
"""The embedded checkpoint's streams peak near 24 on "Hello world"; so these peak near 100,000."""

GROWING = (
    "*.embed_tokens.weight",
    "*.post_attention_layernorm.weight",
    "*.post_feedforward_layernorm.weight",
    "*.post_per_layer_input_norm.weight",
)
SHRINKING = ("*.per_layer_input_gate.weight", "model.language_model.norm.weight")
"""What reads the stream without a norm, and what leads to the head, which is the embedding: they stay in range."""


def write(folder: Path, factor: float = FACTOR) -> Path:
    """Write the embedded checkpoint with streams that are about `factor` times as large; a power of two is exact."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in path().iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    weights = {name: _grown(name, tensor, factor) for name, tensor in load_file(path() / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _grown(name: str, tensor: torch.Tensor, factor: float) -> torch.Tensor:
    if any(fnmatchcase(name, pattern) for pattern in GROWING):
        return tensor * factor
    return tensor / factor if any(fnmatchcase(name, pattern) for pattern in SHRINKING) else tensor
