"""The range of the Apple Neural Engine's fp16. Imports nothing, so that commands start at once."""

LIMIT = 32752.0
"""Largest magnitude that the engine keeps, by public measurements: half of fp16's own largest number."""

SMALLEST_NORMAL = 2.0**-14
"""Below this, numbers are subnormal: with each halving they lose one of their eleven bits."""

HIDDEN = -2e4
"""Added to the score of a key that a query does not see.

Infinity would make a row of padding, which sees nothing, NaN, and NaN spreads through masked values (0 x NaN). The sum
with a score has to stay within the engine's +-32,752.
"""

HEAD_PIECES = 16
"""Convolutions of the head: the engine takes no axis longer than 16,384, and the vocabulary has 262,400 ids."""
