"""What is wrong in mlx-vlm 0.7.10: each fault proven by an edit, in memory, with which the divergence goes away.

`mlx-vlm@patch=NAME` runs the package with a fault mended, `mlx-vlm@patch=all` with all of them; docs/third-party.md has
figures.
"""

from __future__ import annotations

from implementations.mlx_vlm.audio_patches import AUDIO_PATCHES
from implementations.mlx_vlm.prompt_patches import PROMPT_PATCHES
from implementations.mlx_vlm.text_patches import TEXT_PATCHES
from implementations.mlx_vlm.vision_patches import VISION_PATCHES

PATCHES = (*TEXT_PATCHES, *PROMPT_PATCHES, *VISION_PATCHES, *AUDIO_PATCHES)
