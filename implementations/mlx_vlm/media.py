"""What an audit runs mlx-vlm with besides text, and what shows a fault of its towers alone."""

from __future__ import annotations

from parity.fault import Inputs

_PICTURE, _SOUND = "gradient.png", "rising-chirp.wav"
"""Of this picture every row and column is different."""

BOTH = (_PICTURE, _SOUND)
STEREO = Inputs("one-shot", ("stereo-chirps.wav",))
"""A sound of two channels at 22.05 kHz."""
PICTURE, SOUND = Inputs("one-shot", (_PICTURE,)), Inputs("one-shot", (_SOUND,))

AUDITED = (
    *(Inputs(scenario, BOTH) for scenario in ("one-shot", "decode", "warm")),
    Inputs("one-shot", ("three-blue-squares.png", _PICTURE)),
    Inputs("one-shot", (_SOUND, "three-high-beeps.wav")),
    Inputs("batch", (_PICTURE,), refused="inconsistently sized batches"),
)
