"""The kinds of parameter in the checkpoint, read from its own header: light, no torch.

A kind is a name without its layer, block or projection index.
"""

import re

from reference import tiny
from reference.common import drawing, safetensors_file
from tools.tiny import weights


def computing() -> dict[str, drawing.Shape]:
    """Return name and shape of every tensor that computes something: all but the k and v of KV-shared layers."""
    unused = dict(weights.shared_key_values())
    stored = safetensors_file.shapes(tiny.path() / "model.safetensors")
    return {name: shape for name, shape in stored.items() if name not in unused}


def kind(name: str) -> str:
    """Return the kind of a tensor; vision keeps the stage, because blocks of one role differ between stages."""
    name = re.sub(r"(layers|conformer|projections)\.\d+", r"\1.*", name)
    return re.sub(r"(blocks\.\d)\.\d+", r"\1.*", name)


def by_kind() -> dict[str, list[str]]:
    """Return the tensors of each kind, by ascending index."""
    found: dict[str, list[str]] = {}
    for name in sorted(computing(), key=numerically):
        found.setdefault(kind(name), []).append(name)
    return found


def numerically(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts layer 9 before layer 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in name.split(".")]


def representatives() -> dict[str, str]:
    """Return the middle tensor of each kind, by kind."""
    return {found: names[len(names) // 2] for found, names in by_kind().items()}
