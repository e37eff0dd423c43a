"""Loading a Hugging Face checkpoint as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.utils import tree_flatten

from implementations.gemma3n.config import Config
from implementations.gemma3n.weight_names import require_names, require_shape, unused
from implementations.mlx.model import Gemma3n
from implementations.mlx.operations.layers import RMSNorm
from parity.checkpoint import require_whole, weight_files
from parity.errors import UsageError

Part = TypeVar("Part", bound=Module)


def load_model(checkpoint: Path, dtype: mx.Dtype) -> Gemma3n:
    """Build the model of a checkpoint directory and load its weights, rounded to `dtype`.

    Raises:
        UsageError: for another architecture, or a file or tensor that is missing, unknown, truncated or misshapen.
    """
    model = Gemma3n(Config.from_directory(checkpoint))
    ignored = tuple(unused(model.config.text, shapes(model)))
    found = {name: array for name, array in _tensors(checkpoint) if not name.startswith(ignored)}
    fill(model, found, dtype, checkpoint)
    return model


def load_part(module: Part, checkpoint: Path, dtype: mx.Dtype, name: str) -> Part:
    """Load one module of a checkpoint, e.g. ``model.audio_tower``, and nothing else.

    Raises:
        UsageError: for a file or tensor that is missing, unknown, truncated or misshapen.
    """
    found = {key: array for key, array in _tensors(checkpoint) if key.startswith(f"{name}.")}
    fill(module, {key.removeprefix(f"{name}."): array for key, array in found.items()}, dtype, checkpoint)
    return module


def fill(module: Module, tensors: Mapping[str, mx.array], dtype: mx.Dtype, checkpoint: Path) -> None:
    """Give a module its weights, rounded to `dtype`, convolutions' in MLX's layout.

    Raises:
        UsageError: for a tensor that is missing, unknown or misshapen.
    """
    expected = shapes(module)
    require_names(tensors, expected, checkpoint)
    for name, array in tensors.items():
        require_shape(name, array.shape, expected[name], checkpoint)
    module.load_weights([(name, _channels_last(array).astype(dtype)) for name, array in tensors.items()])
    _widen_gains(module)
    mx.eval(module.parameters())


def shapes(module: Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the module's parameters in the checkpoint: what that has to hold."""
    flat = tree_flatten(module.parameters(), destination={})
    assert isinstance(flat, dict)
    return {name: _channels_first(tuple(array.shape)) for name, array in flat.items()}


def _channels_last(array: mx.array) -> mx.array:
    """A tensor as MLX has it: input channels stand behind the kernel's axes. Only convolutions have over two axes."""
    return mx.moveaxis(array, 1, -1) if array.ndim > 2 else array


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the same tensor in the checkpoint, where they stand before them."""
    return (shape[0], shape[-1], *shape[1:-1]) if len(shape) > 2 else shape


def _tensors(checkpoint: Path) -> Iterator[tuple[str, mx.array]]:
    """Names and arrays of all files; arrays are read when they are evaluated."""
    for file in weight_files(checkpoint):
        require_whole(file)
        try:
            arrays = mx.load(str(file))
        except RuntimeError as error:
            raise UsageError(f"checkpoint file {file} cannot be loaded: {error}") from error
        assert isinstance(arrays, dict)  # of safetensors, MLX makes nothing else
        yield from arrays.items()


def _widen_gains(module: Module) -> None:
    """Keep the gains of norms, rounded to the working dtype like every weight, in float32; see `RMSNorm`."""
    for part in module.modules():
        if isinstance(part, RMSNorm):
            part.weight = part.weight.astype(mx.float32)
