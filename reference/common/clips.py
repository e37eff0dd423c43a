"""How long a clip may be: as long as the model has a place for each of its soft tokens. No framework is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from parity.errors import UsageError

LONGEST = 480_000
"""30 s at 16 kHz, where the reference's feature extractor cuts without a word."""
PAD_TO = 128
"""A waveform is padded to a multiple of so many samples: its `pad_to_multiple_of`."""


@dataclass(frozen=True)
class Limit:
    """Of a clip.

    Attributes:
        samples: that it may have, at the model's rate.
        tokens: soft tokens that the longest becomes.
        rate: in Hz.
    """

    samples: int
    tokens: int
    rate: int = 16_000

    @classmethod
    def of(cls, tokens: int, steps: Sequence[int], *, window: int = 512, hop: int = 160, rate: int = 16_000) -> Limit:
        """Of a model with so many soft tokens, each of the product of `steps` mel frames.

        Args:
            tokens: of a clip.
            steps: strides of what shortens frames to tokens.
            window: samples of a frame, which looks one sample further.
            hop: samples from one frame to the next.
            rate: in Hz.
        """
        fitting = (window + 1 + tokens * math.prod(steps) * hop - 1) // PAD_TO * PAD_TO
        return cls(min(LONGEST, fitting), tokens, rate)

    def require(self, file: Path) -> None:
        """Refuse a file whose header says that it is too long; what cannot be read here is the decoder's to say."""
        samples = 0
        with suppress(Exception):  # decoders meet malformed content with errors of every kind
            import soundfile

            found = soundfile.info(file)
            samples = math.ceil(found.frames * self.rate / found.samplerate)
        self.require_samples(samples, str(file))

    def require_samples(self, samples: int, file: str) -> None:
        """Refuse a clip of too many samples.

        Raises:
            UsageError: saying how long it is, and how long it may be.
        """
        if samples > self.samples:
            most = f"this checkpoint takes at most {self.samples / self.rate:.2f} s ({self.tokens} soft tokens)"
            raise UsageError(f"audio {file}: {samples / self.rate:.2f} s; {most}")
