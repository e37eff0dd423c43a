"""Gemma 3n's audio tower on MLX: mel features to one feature every 160 ms (arXiv 2303.01037, 2005.08100)."""
