"""Implementations of Gemma 3n that the harness judges."""
