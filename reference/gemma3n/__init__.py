"""Gemma 3n as transformers has it: its contract with meanings and sources, its scenarios and its known bugs."""

from parity.weights.names import multimodal

MODEL_TYPES = ("gemma3n", "gemma3n_text")
"""What ``config.json`` calls the models whose reference this is."""
PUBLISHED = multimodal("vision_tower.", "audio_tower.", "embed_vision.", "embed_audio.")
"""How its tensors are spelled where all modalities are."""
