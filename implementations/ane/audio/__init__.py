"""Gemma 3n's audio tower in the form in which the Neural Engine runs it (arXiv 2303.01037, 2005.08100)."""
