"""What is true: transformers' Gemma 3n, its contract, its oracle, and the embedded checkpoint."""
