"""Gemma 3n's audio encoder, written for export: Universal Speech Model's conformer (arXiv 2303.01037)."""
