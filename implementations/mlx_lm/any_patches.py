"""What mlx-lm's ports of further architectures do otherwise than transformers, each proven by an edit in memory.

`parity survey` runs a port that diverged once more with these edits in force.
"""

from __future__ import annotations

from collections.abc import Mapping

from implementations.mlx_packages.patch import Patch

PATCHES: Mapping[str, tuple[Patch, ...]] = {}
