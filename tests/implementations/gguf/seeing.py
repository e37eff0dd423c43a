"""The embedded checkpoint with the one geometry of pictures that libmtmd computes."""

from __future__ import annotations

from pathlib import Path

from tests.bad_input.inputs import checkpoint, edited

SIDE, TOKENS = 256, 256


def seeing(folder: Path, side: int = SIDE) -> Path:
    """Pictures of so many pixels a side, and a fused map of 16 by 16."""
    made = checkpoint(folder, "seeing")
    edited("vision_config", "model_args", "msfa_output_resolution", value=16)(made / "config.json")
    edited("vision_soft_tokens_per_image", value=TOKENS)(made / "config.json")
    edited("image_seq_length", value=TOKENS)(made / "processor_config.json")
    edited("size", value={"height": side, "width": side})(made / "preprocessor_config.json")
    return made
