"""A LoRA adapter beside a checkpoint's weights: what PEFT saves, merged into them (arXiv 2106.09685)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.checkpoint import ADAPTER_CONFIG, ADAPTER_WEIGHTS, object_of
from parity.errors import UsageError
from parity.weights.names import bare
from parity.weights.written import ALL, Rows, Stored, Written, tensors_of

WRAPPER = "base_model.model."
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
OTHER_WAYS = {
    "use_dora": "DoRA",
    "use_qalora": "QALoRA",
    "alpha_pattern": "an alpha for each layer",
    "lora_bias": "biases",
    "modules_to_save": "whole modules",
    "layer_replication": "replicated layers",
    "trainable_token_indices": "trained tokens",
    "target_parameters": "target parameters",
}
"""Fields of an adapter's configuration that ask for more than a sum of products."""


@dataclass(frozen=True)
class Merged:
    """A weight with what the adapter adds: ``W + scale * B A``.

    Attributes:
        base: W, ``[out, in]``.
        down: A, ``[rank, in]``.
        up: B, ``[out, rank]``.
        scale: ``alpha / rank``, or with RSLoRA ``alpha / sqrt(rank)``.
        transposed: whether W is ``[in, out]``, PEFT's `fan_in_fan_out`.
    """

    base: Stored
    down: Written
    up: Written
    scale: float
    transposed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """That of W."""
        return self.base.shape

    @property
    def fits(self) -> bool:
        """Whether the product has the shape of W."""
        made = (self.up.shape[0], self.down.shape[-1])
        return self.shape == (made[::-1] if self.transposed else made) and self.up.shape[-1] == self.down.shape[0]

    def read(self, rows: Rows = ALL) -> NDArray[np.float64]:
        """The sum, in float64: whoever computes in less rounds it once. It is of linear layers, read whole."""
        base, down, up = (part.read().astype(np.float64) for part in (self.base, self.down, self.up))
        added = self.scale * (up @ down)
        merged: NDArray[np.float64] = base + (added.T if self.transposed else added)
        return merged[rows]


def merged(checkpoint: Path, tensors: Mapping[str, Stored]) -> dict[str, Merged]:
    """The tensors, by bare names, that an adapter beside them changes; none where there is no adapter.

    Raises:
        UsageError: for an adapter of another kind, or one that does not fit the checkpoint.
    """
    if not (checkpoint / ADAPTER_CONFIG).is_file():
        return {}
    config = object_of(checkpoint / ADAPTER_CONFIG)
    file = checkpoint / ADAPTER_CONFIG
    adapter = file.resolve().parent if file.is_symlink() else checkpoint  # `--adapter` has links to the user's folder
    _require_lora(adapter, config)
    parts = {bare(part.name.removeprefix(WRAPPER)): part for part in tensors_of(checkpoint / ADAPTER_WEIGHTS)}
    if other := sorted(name for name in parts if not name.endswith((DOWN, UP))):
        raise UsageError(f"adapter {adapter}: {other[0]} is no lora_A or lora_B of a linear layer; merge it with PEFT")
    layers = {name.removesuffix(DOWN) for name in parts if name.endswith(DOWN)}
    if not layers or len(parts) != 2 * len(layers):
        raise UsageError(f"adapter {adapter}: {ADAPTER_WEIGHTS} has no lora_A and lora_B for each layer; save it again")
    return {f"{layer}.weight": _layer(adapter, config, layer, parts, tensors) for layer in sorted(layers)}


def _layer(
    adapter: Path, config: Mapping[str, Any], layer: str, parts: Mapping[str, Written], tensors: Mapping[str, Stored]
) -> Merged:
    down, up, base = parts[layer + DOWN], parts.get(layer + UP), tensors.get(f"{layer}.weight")
    if up is None or base is None:
        raise UsageError(f"adapter {adapter}: the checkpoint has no {layer}.weight to add to; is it of another model?")
    root = 0.5 if config.get("use_rslora") else 1.0
    scale = config["lora_alpha"] / down.shape[0] ** root
    found = Merged(base, down, up, scale, bool(config.get("fan_in_fan_out")))
    if not found.fits:
        shapes = f"{list(up.shape)} by {list(down.shape)}"
        raise UsageError(f"adapter {adapter}: {layer} is {list(found.shape)}, and the adapter {shapes}")
    return found


def _require_lora(adapter: Path, config: Mapping[str, Any]) -> None:
    """Refuse what is more than a sum of products."""
    kind = str(config.get("peft_type", config.get("fine_tune_type", "of no known type")))
    ways = [way for field, way in OTHER_WAYS.items() if config.get(field)]
    if config.get("bias", "none") != "none":
        ways.append("biases")
    if kind.upper() != "LORA" or ways:
        what = f"LoRA with {ways[0]}" if kind.upper() == "LORA" else kind
        raise UsageError(f"adapter {adapter} is {what}; only plain LoRA is merged here: merge it with PEFT")
    if type(config.get("lora_alpha")) not in (int, float):
        raise UsageError(f"adapter {adapter}: {ADAPTER_CONFIG} says no lora_alpha; is it PEFT's?")
