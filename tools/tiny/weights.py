"""Weights of the embedded checkpoint as it is before training: drawn by the rules of all drawn checkpoints."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from reference.common.drawing import Rule, Shape, blocks, rule_of
from reference.gemma3n import weight_rules
from reference.gemma3n.weight_rules import shapes
from tools.tiny.config import HEAD_DIM, HIDDEN, text_config

SEED: Final = "parity tiny gemma3n 1"
RULES: Final = weight_rules.rules(hidden=HIDDEN, head_dim=HEAD_DIM)

__all__ = ["RULES", "SEED", "draw", "rule", "shapes", "shared_key_values"]


def rule(name: str) -> Rule:
    """Return the one rule for a tensor."""
    return rule_of(name, RULES)


def draw(name: str, shape: Shape) -> npt.NDArray[np.uint16]:
    """Draw one tensor: the bit patterns of its bfloat16 values, in `shape`."""
    return np.concatenate([*blocks(SEED, name, shape, rule(name))]).reshape(shape)


def shared_key_values() -> Iterator[tuple[str, Shape]]:
    """Yield what KV-shared layers never read."""
    return weight_rules.shared_key_values(text_config())
