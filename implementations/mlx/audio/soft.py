"""The soft tokens of a clip: as many as the prompt has places, whatever the clip's length."""

from __future__ import annotations

import mlx.core as mx

from parity.errors import UsageError
from parity.tap import Tap


def soft_tokens(features: mx.array, mask: mx.array, padding: mx.array, count: int, *, tap: Tap) -> mx.array:
    """Fill up features to `count` soft tokens a clip.

    Args:
        features: of the tower, in the language model's space, ``[clip, frame, hidden]``.
        mask: which frames are sound, ``[clip, frame]``.
        padding: hard embedding of the last audio id, ``[1, 1, hidden]``: stands where there is no sound.
        count: `audio_soft_tokens_per_image` of the configuration.
        tap: of the scope ``embed_audio``.

    Returns:
        ``[clip, count, hidden]``.

    Raises:
        UsageError: for more frames than soft tokens.
    """
    clips, frames, hidden = features.shape
    if frames > count:
        raise UsageError(f"a clip makes {frames} soft tokens, the prompt has places for {count}; shorten the sound")
    padding = tap("padding", padding).astype(features.dtype)
    sound = mx.where(mask[..., None], features, padding)
    behind = mx.broadcast_to(padding, (clips, count - frames, hidden))
    return tap("soft_tokens", mx.concatenate([sound, behind], axis=1))
