"""From a Hugging Face checkpoint to the model's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from implementations.ane.account import Converted
from implementations.ane.altup import StreamProjections
from implementations.ane.decoder import Decoder, piece_sizes
from implementations.ane.engine.layers import RMSNorm
from implementations.ane.model import TABLE, Gemma3n, checkpoint_name
from implementations.ane.scaling import reads_alpha, scaled_eps
from implementations.gemma3n.config import Config
from implementations.gemma3n.weight_names import PUBLISHED
from parity.weights.names import HEAD
from parity.weights.stored import stored


def load_weights(checkpoint: Path, entries: list[Converted]) -> dict[str, Tensor]:
    """The tensors that are not ignored, in float32, by the checkpoint's names."""
    tensors = stored(checkpoint, PUBLISHED)
    wanted = [entry.name for entry in entries if entry.action != "ignored"]
    return {name: torch.from_numpy(tensors[name].read().astype(np.float32)) for name in wanted}


def build(config: Config, weights: Mapping[str, Tensor], *, alpha: float = 1.0, towers: bool = True) -> Gemma3n:
    """The model with `weights` by the checkpoint's names.

    Args:
        config: the model's.
        weights: all that the model needs, scaled by `alpha` already, which it holds from now on; the head is `HEAD`, or
            else a copy of the table.
        alpha: factor of the residual stream.
        towers: whether it has them.
    """
    with torch.device("meta"):
        model = Gemma3n(config, alpha, towers=towers)
    pieces = weights.get(HEAD, weights[TABLE]).split(piece_sizes(config.text.vocab_size))
    state = {name: piece.clone() for name, piece in zip(_head_names(model), pieces, strict=True)}
    state |= {name: weights[source] for name, _ in model.named_parameters() if (source := checkpoint_name(name))}
    shaped = {name: state[name].reshape(parameter.shape) for name, parameter in model.named_parameters()}
    model.load_state_dict(shaped, assign=True)
    _scale_constants(model.decoder, alpha)
    return model.requires_grad_(False).eval()


def _scale_constants(decoder: Decoder, alpha: float) -> None:
    """Epsilons and least magnitudes beside values that carry `alpha`."""
    for name, module in decoder.named_modules():
        if isinstance(module, RMSNorm) and reads_alpha(name):
            module.eps = scaled_eps(module.eps, alpha)
        if isinstance(module, StreamProjections):
            module.floor *= alpha


def _head_names(model: Gemma3n) -> list[str]:
    return [name for name, _ in model.named_parameters() if checkpoint_name(name) is None]
