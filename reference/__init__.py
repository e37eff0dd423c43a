"""What is true: transformers' Gemma 3n, its contract, its oracle, and the embedded checkpoint."""

MODEL_TYPES = ("gemma3n",)
"""What ``config.json`` calls the models whose reference this is."""
