"""The steps before the model: what the reference's processor makes of a prompt. They are emitted, not woven."""

from __future__ import annotations

from parity.contract import Step

HOST = "float32"
"""Preprocessing is the host's work: every port computes it in float32 or better, whatever its model computes in."""

LEVEL = 1 / 255
"""Pixels are levels of 8 bits, and a right resampler may be one level off.

The true pixel is the exact average v, rounded to a level: |p - v| <= 1/2. A resampler with two passes of 8 bits (as
Pillow's, and torchvision's with AVX2) rounds after the first, by at most 1/2; the second averages these errors with
weights that sum to 1, and rounds again, so that |q - v| <= 1. Of two levels that are so near to v, |p - q| <= 3/2:
none or one. Weights of 16 bits add some hundredths of a level, which change nothing.
"""

EXTRACTOR = "transformers.models.gemma3n.feature_extraction_gemma3n"
"""Makes mel energies of a waveform."""

TEMPLATE = "https://ai.google.dev/gemma/docs/core/prompt-structure"

INPUT_STEPS = (
    Step(
        "processor.waveform",
        ("clip", "sample"),
        "float",
        "decoded audio at the processor's rate, mono, padded with zeros to the longest clip",
        "audio_utils.load_audio",
        needs="audio",
        arithmetic=HOST,
    ),
    Step(
        "processor.token_ids",
        ("batch", "token"),
        "integer",
        "the prompt in the chat template: a placeholder for each soft token, rows padded on the left",
        "Gemma3nProcessor.apply_chat_template: input_ids",
        TEMPLATE,
        needs="prompt",
    ),
    Step(
        "processor.pixels",
        ("image", "channel", "height", "width"),
        "float",
        "upright RGB image, resized bilinearly with antialiasing, rounded to 256 levels, 0 to 1",
        "SiglipImageProcessor: pixel_values",
        needs="image",
        arithmetic=HOST,
        quantum=LEVEL,
    ),
    Step(
        "processor.mel",
        ("clip", "frame", "mel"),
        "float",
        "natural logarithm of the mel energies, at least mel_floor; clips padded with silence to the longest",
        "Gemma3nAudioFeatureExtractor._extract_spectrogram: input_features",
        "https://arxiv.org/abs/2303.01037",
        needs="audio",
        arithmetic=HOST,
    ),
    Step(
        "processor.mel_mask",
        ("clip", "frame"),
        "mask",
        "frames that begin within the clip",
        "Gemma3nAudioFeatureExtractor._extract_spectrogram: input_features_mask",
        needs="audio",
    ),
)
