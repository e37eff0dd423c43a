"""Gemma 3n's vision tower on MLX: MobileNetV5 with a multi-scale fusion adapter (arXiv 2404.10518)."""
