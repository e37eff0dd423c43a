"""Gemma 3n's vision encoder, written for export: MobileNetV5 (arXiv 2404.10518) and its embedder."""
