"""Loading a Hugging Face checkpoint as it is: each weight is read when it is first used.

A tower that sees and hears nothing takes no memory so, and the per-layer table, 4 GB of E2B's 11, none ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
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
from implementations.mlx.operations.layers import RMSNorm, Table
from parity.weights.stored import stored
from parity.weights.written import Stored, Written

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
    files = _Files()
    module.load_weights([(name, files.weight(tensor, dtype)) for name, tensor in tensors.items()])
    for name, part in module.named_modules():
        if isinstance(part, Table):
            part.look_up = partial(_rows, tensors[f"{name}.weight"], dtype)
    _widen_gains(module)


def shapes(module: Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the module's parameters in the checkpoint: what that has to hold."""
    flat = tree_flatten(module.parameters(), destination={})
    assert isinstance(flat, dict)
    return {name: _channels_first(tuple(array.shape)) for name, array in flat.items()}


class _Files:
    """The files of a checkpoint as MLX has them: their arrays are read when they are computed."""

    def __init__(self) -> None:
        self._arrays: dict[Path, dict[str, mx.array]] = {}

    def weight(self, tensor: Stored, dtype: mx.Dtype) -> mx.array:
        """A tensor as a model has it; one that is no file's as it is, evaluated, so that what it is made of is gone."""
        array = self._written(tensor) if isinstance(tensor, Written) else None
        if array is not None:
            return array.astype(dtype)
        array = _channels_last(_array(tensor.read())).astype(dtype)
        mx.eval(array)
        return array

    def _written(self, tensor: Written) -> mx.array | None:
        """One that is written as it is; None in a file with formats that MLX does not take."""
        path = tensor.file.path
        if path not in self._arrays:
            self._arrays[path] = {}
            with suppress(RuntimeError):
                self._arrays[path] = _loaded(path)
        array = self._arrays[path].get(tensor.name)
        return array if array is None or tensor.channels_last else _channels_last(array)


def _loaded(path: Path) -> dict[str, mx.array]:
    """What a file holds, none of it read."""
    found = mx.load(str(path), format="safetensors")
    assert isinstance(found, dict)
    return found


def _rows(tensor: Stored, dtype: mx.Dtype, ids: NDArray[np.int64]) -> mx.array:
    """Rows of a table, rounded."""
    return _array(tensor.read(ids)).astype(dtype)


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
