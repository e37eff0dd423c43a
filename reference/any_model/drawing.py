"""Small random checkpoints of any architecture: every number matters, and no two steps have the same values."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from parity.errors import UsageError
from reference.any_model.configuration import reduced, small
from reference.any_model.published import completed

SPREAD = 0.2
"""Of gains and offsets: at 1 and 0 alone, a norm that forgets its gain would look right."""


def draw(model: str, folder: Path, seed: int = 0) -> None:
    """Write a checkpoint of random weights.

    Args:
        model: its type as ``config.json`` calls it, e.g. ``qwen3``; or a checkpoint's folder, to have its layers.
        folder: a new one, or an empty one.
        seed: of the weights.

    Raises:
        UsageError: for a type that transformers has no language model of, or a folder that holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; name a new folder")
    config = reduced(Path(model)) if Path(model).is_dir() else small(model)
    disable_progress_bar()
    try:
        made = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        fill(made, seed)
        made.save_pretrained(folder)
    except Exception as error:  # models raise many unrelated types
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"model {model!r}: transformers makes no language model of it ({reason})") from error
    file = folder / "config.json"
    file.write_text(
        json.dumps(completed(json.loads(file.read_text()), config.attribute_map), indent=1), encoding="utf-8"
    )


def fill(model: nn.Module, seed: int) -> None:
    """Draw every number of a model that was just made, by what its own initialisation says that each is for."""
    generator = torch.Generator().manual_seed(seed)
    seen: set[int] = set()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and tensor.data_ptr() not in seen:  # a tied one is drawn once
            seen.add(tensor.data_ptr())
            _draw(tensor, generator)


def _draw(tensor: Tensor, generator: torch.Generator) -> None:
    """Gains around 1 and offsets around 0; matrices that keep the size of what they are multiplied with.

    A vector whose first values differ, as the decays of a recurrence, has its own distribution: it stays.
    """
    drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    if tensor.ndim > 1:
        tensor.copy_(drawn * math.prod(tensor.shape[1 if tensor.ndim == 3 and tensor.shape[1] == 1 else -1 :]) ** -0.5)
    elif bool((tensor == tensor.flatten()[0]).all()):
        tensor.copy_(tensor + SPREAD * drawn)
