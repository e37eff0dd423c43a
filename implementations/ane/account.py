"""What conversion makes of each of a checkpoint's tensors: ``python -m implementations.ane.account CHECKPOINT``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from implementations.ane.audio.conformer import Depthwise
from implementations.ane.decoder import piece_sizes
from implementations.ane.engine.layers import Projection
from implementations.ane.model import TABLE, Gemma3n, checkpoint_name
from implementations.gemma3n.config import Config
from implementations.gemma3n.weight_names import PUBLISHED, has_head, require_names, require_shape, unused
from parity.checkpoint import find_checkpoint
from parity.errors import ExitCode, ParityError
from parity.weights.names import HEAD
from parity.weights.stored import stored

Action = Literal["used", "reshaped", "tied", "ignored"]


@dataclass(frozen=True)
class Converted:
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


def account(checkpoint: Path, config: Config) -> list[Converted]:
    """What conversion makes of every tensor of a checkpoint, by name; reads no weights.

    Raises:
        UsageError: for a file or tensor that is missing, unknown, truncated or misshapen.
    """
    found, parameters = shapes(checkpoint), _parameters(config)
    if has_head(config, found):
        parameters[HEAD] = _Target(parameters[TABLE].shape, parameters[TABLE].stored)
    reasons = unused(config.text, parameters)
    kept = {name: shape for name, shape in found.items() if not name.startswith(tuple(reasons))}
    require_names(kept, parameters, checkpoint)
    for name, shape in kept.items():
        require_shape(name, shape, parameters[name].stored, checkpoint)
    return [_converted(name, shape, parameters, reasons) for name, shape in sorted(found.items())]


def shapes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of a checkpoint.

    Raises:
        UsageError: for a file that is missing or truncated.
    """
    return {name: tensor.shape for name, tensor in stored(checkpoint, PUBLISHED).items()}


@dataclass(frozen=True)
class _Target:
    """Where a tensor goes: one of the model's parameters.

    Attributes:
        shape: in the model.
        stored: in the checkpoint.
    """

    shape: tuple[int, ...]
    stored: tuple[int, ...]


def _parameters(config: Config) -> dict[str, _Target]:
    """The model's parameters by the checkpoint's names; no memory is allocated."""
    with torch.device("meta"):
        model = Gemma3n(config, 1.0)
    return {
        source: _Target(tuple(tensor.shape), _stored(module, tensor))
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


def _converted(
    name: str, shape: tuple[int, ...], parameters: Mapping[str, _Target], reasons: Mapping[str, str]
) -> Converted:
    if name not in parameters:
        return Converted(
            name, shape, "ignored", next(why for prefix, why in reasons.items() if name.startswith(prefix))
        )
    target = list(parameters[name].shape)
    head = f"{len(piece_sizes(shape[0]))} convolutions of the head"
    if name == HEAD:
        return Converted(name, shape, "reshaped", head)
    if name == TABLE and HEAD not in parameters:
        return Converted(name, shape, "tied", f"table {target}, and a copy as {head}")
    return Converted(name, shape, "used" if target == list(shape) else "reshaped", str(target))


def lines(entries: Iterable[Converted]) -> list[str]:
    """A line for each tensor, then one with the counts."""
    entries = list(entries)
    width = max((len(entry.name) for entry in entries), default=0)
    rows = [f"{entry.action:8}  {entry.name:{width}}  {list(entry.shape)} -> {entry.became}" for entry in entries]
    counts = Counter(entry.action for entry in entries)
    return [*rows, ", ".join(f"{count} {action}" for action, count in sorted(counts.items()))]


def main(arguments: list[str]) -> int:
    """Print the account of a checkpoint, the embedded one where none is named; returns the exit code."""
    try:
        path: Path = find_checkpoint(arguments[0] if arguments else None).path
        print("\n".join(lines(account(path, Config.from_directory(path)))))
    except ParityError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return ExitCode.PARITY


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
