"""Loading a Hugging Face checkpoint as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten

from implementations.gemma3n.config import Config
from implementations.gemma3n.weights import require_names, text_only, weight_files
from implementations.mlx.layers import RMSNorm
from implementations.mlx.model import Gemma3n
from parity.checkpoint import require_whole
from parity.errors import UsageError


def load_model(checkpoint: Path, dtype: mx.Dtype) -> Gemma3n:
    """Build the model of a checkpoint directory and load its weights, rounded to `dtype`.

    Raises:
        UsageError: for another architecture, or a file or tensor that is missing, unknown, truncated or misshapen.
    """
    model = Gemma3n(Config.from_directory(checkpoint))
    expected = shapes(model)
    ignored = text_only(model.config.text)
    found = {name: array for name, array in _tensors(checkpoint) if not name.startswith(ignored)}
    require_names(found, expected, checkpoint)
    for name, array in found.items():
        _require_shape(name, array, expected[name], checkpoint)
    model.load_weights([(name, array.astype(dtype)) for name, array in found.items()])
    _widen_gains(model)
    mx.eval(model.parameters())
    return model


def shapes(model: Gemma3n) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the model's parameters: what a checkpoint has to hold."""
    flat = tree_flatten(model.parameters(), destination={})
    assert isinstance(flat, dict)
    return {name: tuple(array.shape) for name, array in flat.items()}


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


def _require_shape(name: str, array: mx.array, shape: tuple[int, ...], checkpoint: Path) -> None:
    if tuple(array.shape) != shape:
        raise UsageError(f"checkpoint {checkpoint}: {name} is {list(array.shape)}; its config.json needs {list(shape)}")


def _widen_gains(model: Gemma3n) -> None:
    """Keep the gains of norms, rounded to the working dtype like every weight, in float32; see `RMSNorm`."""
    for module in model.modules():
        if isinstance(module, RMSNorm):
            module.weight = module.weight.astype(mx.float32)
