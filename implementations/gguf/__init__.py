"""Gemma 3n in GGUF, the format of llama.cpp."""
