"""From a Hugging Face checkpoint to the model's parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

Wanted = Callable[[str], bool]
"""Whether a parameter of the model is, by its name there."""


def everything(parameter: str) -> bool:
    """Every parameter is wanted."""
    return True


def sources(config: Config, wanted: Wanted) -> set[str]:
    """The checkpoint's names of the tensors that the parameters which are wanted are made of; reads no weights."""
    with torch.device("meta"):
        model = Gemma3n(config, 1.0)
    names = [checkpoint_name(name) for name, _ in model.named_parameters() if wanted(name)]
    return {name for each in names for name in ([each] if each else [HEAD, TABLE])}


def load_weights(checkpoint: Path, entries: list[Converted]) -> dict[str, Tensor]:
    """The tensors that are not ignored, in float32, by the checkpoint's names."""
    tensors = stored(checkpoint, PUBLISHED)
    wanted = [entry.name for entry in entries if entry.action != "ignored"]
    return {name: torch.from_numpy(tensors[name].read().astype(np.float32)) for name in wanted}


def build(config: Config, weights: Mapping[str, Tensor], *, alpha: float = 1.0, wanted: Wanted = everything) -> Gemma3n:
    """The model with `weights` by the checkpoint's names.

    Args:
        config: the model's.
        weights: all that is wanted, scaled by `alpha` already, which the model holds from now on; the head is `HEAD`,
            or else a copy of the table.
        alpha: factor of the residual stream.
        wanted: the parameters that it has; the others have shapes and no numbers, and nothing can be computed by them.
    """
    with torch.device("meta"):
        model = Gemma3n(config, alpha)
    parameters = {name: parameter for name, parameter in model.named_parameters() if wanted(name)}
    state = {name: weights[source] for name in parameters if (source := checkpoint_name(name))}
    if pieces := [name for name in parameters if checkpoint_name(name) is None]:
        state |= zip(pieces, _head(weights, state).split(piece_sizes(config.text.vocab_size)), strict=True)
    shaped = {name: state[name].reshape(parameter.shape) for name, parameter in parameters.items()}
    model.load_state_dict(shaped, strict=False, assign=True)
    _scale_constants(model.decoder, alpha)
    return model.requires_grad_(False).eval()


def _head(weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Tensor:
    """The head's weight, which shares no memory with what `state` has already."""
    if HEAD in weights:
        return weights[HEAD]
    table = weights[TABLE]
    return table.clone() if any(table is held for held in state.values()) else table


def _scale_constants(decoder: Decoder, alpha: float) -> None:
    """Epsilons and least magnitudes beside values that carry `alpha`."""
    for name, module in decoder.named_modules():
        if isinstance(module, RMSNorm) and reads_alpha(name):
            module.eps = scaled_eps(module.eps, alpha)
        if isinstance(module, StreamProjections):
            module.floor *= alpha
