"""Which tensors training changes, by part. All others stay as `weights.py` draws them. Light: no torch."""

import re
from typing import Final

PARTS: Final = {
    # The last of four stages, and what fuses it with the one before.
    "vision": r"model\.vision_tower\.timm_model\.(blocks\.3|msfa)\..+"
    r"|model\.embed_vision\.(soft_embedding_norm|embedding_projection)\.weight",
    "audio": r"model\.audio_tower\.conformer\..+"
    r"|model\.embed_audio\.(soft_embedding_norm|embedding_projection)\.weight",
    # The layers behind those with sparse activations, the final mixture of streams, and the final norm.
    "decoder": r"model\.language_model\.(layers\.(1\d|2[0-4])\..+|altup_unembed_projections\.\d\.weight|norm\.weight)",
}


def belongs(name: str, part: str) -> bool:
    """Tell whether training a part changes the parameter of that name."""
    return re.fullmatch(PARTS[part], name) is not None


def trained(name: str) -> bool:
    """Tell whether training any part does."""
    return any(belongs(name, part) for part in PARTS)
