"""Gemma 3n as transformers has it: its contract with meanings and sources, its scenarios and its known bugs."""

MODEL_TYPES = ("gemma3n", "gemma3n_text")
"""What ``config.json`` calls the models whose reference this is."""
