"""The range of the Apple Neural Engine's fp16. Imports nothing, so that commands start at once."""

LIMIT = 32752.0
"""Largest magnitude that the engine keeps, by public measurements: half of fp16's own largest number."""

SMALLEST_NORMAL = 2.0**-14
"""Below this, numbers are subnormal: with each halving they lose one of their eleven bits."""
