"""Gemma 3n's vision tower as the Neural Engine runs it: MobileNetV5 with a fusion adapter (arXiv 2404.10518)."""
