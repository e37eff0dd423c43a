"""Loading a Hugging Face checkpoint as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np
from mlx.nn.layers.base import Module
from mlx.utils import tree_flatten
from numpy.typing import NDArray

from implementations.gemma3n.config import Config
from implementations.gemma3n.weight_names import PUBLISHED, has_head, require_names, require_shape, unused
from implementations.mlx.model import Gemma3n
from implementations.mlx.operations.layers import RMSNorm
from parity.weights.stored import stored
from parity.weights.written import Stored

Part = TypeVar("Part", bound=Module)


def load_model(checkpoint: Path, dtype: mx.Dtype) -> Gemma3n:
    """Build the model of a checkpoint directory and load its weights, rounded to `dtype`.

    Raises:
        UsageError: for another architecture, or a file or tensor that is missing, unknown, truncated or misshapen.
    """
    config, tensors = Config.from_directory(checkpoint), stored(checkpoint, PUBLISHED)
    model = Gemma3n(config, own_head=has_head(config, tensors))
    ignored = tuple(unused(config.text, shapes(model)))
    found = {name: tensor for name, tensor in tensors.items() if not name.startswith(ignored)}
    fill(model, found, dtype, checkpoint)
    return model


def load_part(module: Part, checkpoint: Path, dtype: mx.Dtype, name: str) -> Part:
    """Load one module of a checkpoint, e.g. ``model.audio_tower``, and nothing else.

    Raises:
        UsageError: for a file or tensor that is missing, unknown, truncated or misshapen.
    """
    tensors = stored(checkpoint, PUBLISHED)
    found = {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
    fill(module, found, dtype, checkpoint)
    return module


def fill(module: Module, tensors: Mapping[str, Stored], dtype: mx.Dtype, checkpoint: Path) -> None:
    """Give a module its weights, rounded to `dtype`, convolutions' in MLX's layout.

    Raises:
        UsageError: for a tensor that is missing, unknown or misshapen.
    """
    expected = shapes(module)
    require_names(tensors, expected, checkpoint)
    for name, tensor in tensors.items():
        require_shape(name, tensor.shape, expected[name], checkpoint)
    module.load_weights([(name, _rounded(tensor, dtype)) for name, tensor in tensors.items()])
    _widen_gains(module)
    mx.eval(module.parameters())


def shapes(module: Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the module's parameters in the checkpoint: what that has to hold."""
    flat = tree_flatten(module.parameters(), destination={})
    assert isinstance(flat, dict)
    return {name: _channels_first(tuple(array.shape)) for name, array in flat.items()}


def _rounded(tensor: Stored, dtype: mx.Dtype) -> mx.array:
    """A tensor as MLX has it, evaluated, so that of what was read no more than one tensor is ever kept."""
    array = _channels_last(_array(tensor.read())).astype(dtype)
    mx.eval(array)
    return array


def _array(read: NDArray[Any]) -> mx.array:
    """The same numbers, those in float64 rounded: MLX takes no bfloat16 of NumPy's, but its bits."""
    if read.dtype.name == "bfloat16":
        return mx.array(read.view(np.uint16)).view(mx.bfloat16)
    return mx.array(read.astype(np.float32) if read.dtype == np.float64 else read)


def _channels_last(array: mx.array) -> mx.array:
    """A tensor as MLX has it: input channels stand behind the kernel's axes. Only convolutions have over two axes."""
    return mx.moveaxis(array, 1, -1) if array.ndim > 2 else array


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the same tensor in the checkpoint, where they stand before them."""
    return (shape[0], shape[-1], *shape[1:-1]) if len(shape) > 2 else shape


def _widen_gains(module: Module) -> None:
    """Keep the gains of norms, rounded to the working dtype like every weight, in float32; see `RMSNorm`."""
    for part in module.modules():
        if isinstance(part, RMSNorm):
            part.weight = part.weight.astype(mx.float32)
