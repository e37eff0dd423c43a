"""Rotary position embedding: the parameters of each layer type and its angular frequencies (arXiv 2104.09864)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.errors import UsageError

FULL, SLIDING = "full_attention", "sliding_attention"
DEFAULT_THETA = {FULL: 1_000_000.0, SLIDING: 10_000.0}
OLD_THETA = {FULL: "rope_theta", SLIDING: "rope_local_base_freq"}
DEFAULT = {"rope_type": "default"}
"""Where there are no `rope_parameters`; the older word `type` in a `rope_scaling` does not replace its `rope_type`."""
SUPPORTED = ("default", "linear")


@dataclass(frozen=True)
class Rope:
    """Rotary embedding of one layer type.

    Attributes:
        theta: base of the geometric series of frequencies.
        factor: positions are divided by it (linear scaling); 1 where there is none.

    Raises:
        UsageError: for a base or factor that is not positive.
    """

    theta: float
    factor: float = 1.0

    def __post_init__(self) -> None:
        if not (self.theta > 0 and self.factor > 0):
            raise UsageError(f"config.json: RoPE base {self.theta} and factor {self.factor} must be positive")

    def inverse_frequencies(self, head_dim: int) -> NDArray[np.float32]:
        """Angular frequencies, radians per position: ``theta^(-2i/d) / factor``.

        Rounded once, from float64: each is the float32 nearest to the true frequency.

        Returns:
            ``[head_dim / 2]``, float32.
        """
        exponents = np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
        return np.asarray(self.theta**-exponents / self.factor, dtype=np.float32)


def read_ropes(text: Mapping[str, Any]) -> dict[str, Rope]:
    """The rotary embedding of each layer type, as transformers reads it.

    Published checkpoints have `rope_theta`, `rope_local_base_freq` and `rope_scaling` (full attention only);
    transformers 5 writes `rope_parameters` by layer type, which go before the old fields.

    Raises:
        UsageError: for a kind of scaling that is not implemented, or fields that transformers cannot take.
    """
    by_type = text.get("rope_parameters")
    by_type = {FULL: DEFAULT, SLIDING: DEFAULT} if by_type is None else _mapping(by_type, "rope_parameters")
    parameters = {kind: _mapping(by_type.get(kind) or {}, kind) for kind in (FULL, SLIDING)}
    if (scaling := text.get("rope_scaling")) is not None:
        if not by_type.get(FULL):
            raise UsageError(
                "config.json: rope_scaling is of full attention, which rope_parameters lacks; add it there"
            )
        parameters[FULL] = {**parameters[FULL], **_mapping(scaling, "rope_scaling")}
    return {kind: _read(kind, text, parameters[kind]) for kind in (FULL, SLIDING)}


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"config.json: RoPE's {name} is {value!r}, no object")
    return value


def _read(kind: str, text: Mapping[str, Any], parameters: Mapping[str, Any]) -> Rope:
    rope_type = parameters.get("rope_type", parameters.get("type", "default"))
    if rope_type not in SUPPORTED:
        raise UsageError(f"config.json: RoPE scaling {rope_type!r} of {kind}: only {', '.join(SUPPORTED)} are known")
    theta = parameters.get("rope_theta", text.get(OLD_THETA[kind], DEFAULT_THETA[kind]))
    factor = parameters.get("factor") if rope_type == "linear" else 1.0
    try:
        return Rope(float(theta), float(factor))  # type: ignore[arg-type]  # a missing factor is told as any other
    except (TypeError, ValueError) as error:
        raise UsageError(f"config.json: RoPE of {kind}: {error}") from error
