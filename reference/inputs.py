"""The steps before the model: what the reference's processor makes of a prompt. They are emitted, not woven."""

from __future__ import annotations

from parity.contract import Step

TEMPLATE = "https://ai.google.dev/gemma/docs/core/prompt-structure"

INPUT_STEPS = (
    Step(
        "processor.waveform",
        ("clip", "sample"),
        "float",
        "decoded audio at the processor's rate, mono, padded with zeros to the longest clip",
        "audio_utils.load_audio",
        needs="audio",
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
        "upright RGB image, resized bilinearly with antialiasing, 0 to 1",
        "SiglipImageProcessor: pixel_values",
        needs="image",
    ),
    Step(
        "processor.mel",
        ("clip", "frame", "mel"),
        "float",
        "natural logarithm of the mel energies, at least mel_floor; clips padded with silence to the longest",
        "Gemma3nAudioFeatureExtractor._extract_spectrogram: input_features",
        "https://arxiv.org/abs/2303.01037",
        needs="audio",
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
