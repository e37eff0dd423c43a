"""From a Hugging Face checkpoint to the model's parameters, with an account of every tensor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from implementations.ane.altup import StreamProjections
from implementations.ane.audio.conformer import Depthwise
from implementations.ane.decoder import Decoder, piece_sizes
from implementations.ane.engine.layers import Projection, RMSNorm
from implementations.ane.model import LANGUAGE, Gemma3n, checkpoint_name
from implementations.ane.scaling import reads_alpha, scaled_eps
from implementations.gemma3n.config import Config
from implementations.gemma3n.weights import TIED_HEAD, ignored, require_names, require_shape, weight_files
from parity.checkpoint import require_whole
from parity.errors import UsageError

TABLE = f"{LANGUAGE}embed_tokens.weight"

Action = Literal["used", "reshaped", "tied", "ignored"]


@dataclass(frozen=True)
class Entry:
    """What became of one of the checkpoint's tensors.

    Attributes:
        name: in the checkpoint.
        shape: in the checkpoint.
        action: used as it is, reshaped to a convolution's weight, tied (used twice) or ignored.
        became: the parameter's shape, or why the tensor is ignored.
    """

    name: str
    shape: tuple[int, ...]
    action: Action
    became: str


def account(checkpoint: Path, config: Config) -> list[Entry]:
    """What conversion makes of every tensor of a checkpoint, by name; reads no weights.

    Raises:
        UsageError: for a file or tensor that is missing, unknown, truncated or misshapen.
    """
    found, parameters = shapes(checkpoint), _parameters(config)
    reasons = _unused(config, parameters)
    kept = {name: shape for name, shape in found.items() if not name.startswith(tuple(reasons))}
    require_names(kept, parameters, checkpoint)
    for name, shape in kept.items():
        require_shape(name, shape, parameters[name].stored, checkpoint)
    return [_entry(name, shape, parameters, reasons) for name, shape in sorted(found.items())]


def load_weights(checkpoint: Path, entries: list[Entry]) -> dict[str, Tensor]:
    """The tensors that are not ignored, in float32, by the checkpoint's names."""
    wanted = {entry.name for entry in entries if entry.action != "ignored"}
    weights: dict[str, Tensor] = {}
    for file in weight_files(checkpoint):
        with safe_open(file, framework="pt") as tensors:
            weights |= {name: tensors.get_tensor(name).float() for name in wanted.intersection(tensors.keys())}
    return weights


def build(config: Config, weights: Mapping[str, Tensor], *, alpha: float = 1.0) -> Gemma3n:
    """The model with `weights` by the checkpoint's names.

    Args:
        config: the model's.
        weights: all that the model needs, scaled by `alpha` already; the head is `TIED_HEAD`, or else a copy of the
            table.
        alpha: factor of the residual stream.
    """
    with torch.device("meta"):
        model = Gemma3n(config, alpha)
    pieces = weights.get(TIED_HEAD, weights[TABLE]).split(piece_sizes(config.text.vocab_size))
    state = dict(zip(_head_names(model), pieces, strict=True))
    state |= {name: weights[source] for name, _ in model.named_parameters() if (source := checkpoint_name(name))}
    shaped = {name: state[name].reshape(parameter.shape).clone() for name, parameter in model.named_parameters()}
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


def shapes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of a checkpoint.

    Raises:
        UsageError: for a file that is missing or truncated.
    """
    return dict(entry for file in weight_files(checkpoint) for entry in _shapes(file))


def _shapes(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    require_whole(file)
    try:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - no mapping
                yield name, tuple(tensors.get_slice(name).get_shape())
    except SafetensorError as error:
        raise UsageError(f"checkpoint file {file} cannot be loaded: {error}") from error


@dataclass(frozen=True)
class Parameter:
    """One of the model's parameters.

    Attributes:
        shape: in the model.
        stored: in the checkpoint.
    """

    shape: tuple[int, ...]
    stored: tuple[int, ...]


def _parameters(config: Config) -> dict[str, Parameter]:
    """The model's parameters by the checkpoint's names; no memory is allocated."""
    with torch.device("meta"):
        model = Gemma3n(config, 1.0)
    return {
        source: Parameter(tuple(tensor.shape), _stored(module, tensor))
        for path, module in model.named_modules()
        for name, tensor in module.named_parameters(path, recurse=False)
        if (source := checkpoint_name(name))
    }


def _stored(module: nn.Module, tensor: Tensor) -> tuple[int, ...]:
    """A parameter's shape in the checkpoint: matrices have no axes of a kernel, and kernels in time have one."""
    shape = tuple(tensor.shape)
    if isinstance(module, Projection):
        return shape[:2]
    return (*shape[:2], shape[3]) if isinstance(module, Depthwise) else shape


def _unused(config: Config, parameters: Iterable[str]) -> dict[str, str]:
    """Prefixes of tensors that no parameter holds, and why."""
    held = tuple(parameters)
    return {
        prefix: why for prefix, why in ignored(config.text).items() if not any(name.startswith(prefix) for name in held)
    }


def _head_names(model: Gemma3n) -> list[str]:
    return [name for name, _ in model.named_parameters() if checkpoint_name(name) is None]


def _entry(name: str, shape: tuple[int, ...], parameters: Mapping[str, Parameter], reasons: Mapping[str, str]) -> Entry:
    if name not in parameters:
        return Entry(name, shape, "ignored", next(why for prefix, why in reasons.items() if name.startswith(prefix)))
    target = list(parameters[name].shape)
    if name == TABLE:
        pieces = piece_sizes(shape[0])
        return Entry(name, shape, "tied", f"table {target}, and a copy as {len(pieces)} convolutions of the head")
    return Entry(name, shape, "used" if target == list(shape) else "reshaped", str(target))
