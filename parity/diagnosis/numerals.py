"""Numbers as people say them: ``1/3``, ``ln 2``, ``1 - 5e-6``, ``1/sqrt(2)``, not ``0.693147``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from parity.dtypes import numpy_dtype

CANCELLED = 1e-12
"""What is left of a number that float64 cancels."""
CERTAIN = 1e-6
"""A fit in float32 is uncertain by less than this share; in bfloat16 by more, where numbers are told plainly."""
AROUND_ONE = 0.01
"""Nearer than this, the distance from 1 says more than the number does."""
SMALL, LARGE = 0.01, 1e6
"""Outside these, numbers have an exponent."""
LARGEST = 64
"""Roots and fractions of whole numbers up to here are told as such; beyond, too many lie close together."""
WIDTHS = tuple(2**power for power in range(7, 14))
"""Roots of these are told too: hidden sizes and vocabularies are mostly powers of two."""
ROUNDINGS = ("bfloat16", "float16")
PRECISE = 1e-3
"""A constant's rounding is told where the distance from 1 is its own to so many parts."""


def said(value: float) -> str:
    """A number in the shortest words that are true to `CERTAIN`, else in four digits."""
    if abs(value) < CANCELLED:
        return "0"
    if not math.isfinite(value):
        return f"{value:g}"
    size, sign = abs(value), "-" if value < 0 else ""
    if near := _short(size) or next((text for text, known in _constants() if abs(size / known - 1) < CERTAIN), ""):
        return sign + near
    if abs(size - 1) < AROUND_ONE:
        apart = f"1 {'+' if size > 1 else '-'} {_plain(float(f'{abs(size - 1):.3g}'))}"
        return f"-({apart})" if sign else apart
    return sign + _plain(float(f"{size:.4g}"))


def span(values: Iterable[float]) -> str:
    """The least and the largest, e.g. ``0.5 to 2``; one of them where they are told alike."""
    least, most = said(min(held := list(values))), said(max(held))
    return least if least == most else f"{least} to {most}"


def indices(held: NDArray[np.int64]) -> str:
    """Indices along an axis whose name stands before them, e.g. `` 3`` or ``s 0 to 8, 4 of them``."""
    first, last = int(held[0]), int(held[-1])
    if first == last:
        return f" {first}"
    return f"s {first} to {last}{'' if len(held) == last - first + 1 else f', {len(held)} of them'}"


def factor(value: float) -> str:
    """A factor, and what it comes from where that is a constant that a coarse format rounds."""
    origin = next((text for text, known in _roundings() if abs((value - 1) / (known - 1) - 1) < PRECISE), "")
    return f"{said(value)}{f', which is {origin}' if origin else ''}"


def _short(size: float) -> str:
    """A number of two digits, or a whole one."""
    for text in (f"{size:.2g}", f"{size:.0f}"):
        if float(text) > 0 and abs(size / float(text) - 1) < CERTAIN and size < LARGE:
            return _plain(float(text))
    return ""


def _plain(size: float) -> str:
    """Digits without a row of zeros: ``0.012``, ``1.2e-3``, ``1.2e7``."""
    text = f"{size:g}" if SMALL <= size < LARGE else f"{size:.3e}"
    mantissa, mark, power = text.partition("e")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(power)}" if mark else text


@cache
def _constants() -> tuple[tuple[str, float], ...]:
    """Numbers that have names, the plainest name of each first."""
    fractions = [(f"{above}/{below}", above / below) for below in range(2, 17) for above in range(1, below)]
    bases = [("ln 2", math.log(2)), ("ln 10", math.log(10)), ("pi", math.pi), ("e", math.e)]
    roots = [(f"sqrt({number})", math.sqrt(number)) for number in (*range(2, LARGEST + 1), *WIDTHS)]
    inverse = [(f"1/({text})" if " " in text else f"1/{text}", 1 / value) for text, value in (*bases, *roots)]
    return (*fractions, ("255/256", 255 / 256), ("256/255", 256 / 255), *bases, *roots, *inverse)


@cache
def _roundings() -> tuple[tuple[str, float], ...]:
    """How many times itself a constant is in a coarse format, where it is no number of that format."""

    def each() -> Iterator[tuple[str, float]]:
        for format_ in ROUNDINGS:
            dtype = numpy_dtype(format_)
            for text in ("1/sqrt(2)", "sqrt(2)", *(f"sqrt({width})" for width in WIDTHS), "ln 2", "1/(ln 2)"):
                true = math.sqrt(int(text[5:-1])) if text.startswith("sqrt(") else dict(_constants())[text]
                if (times := float(dtype.type(true)) / true) != 1.0:
                    yield f"{format_}'s rounding of {text}", times

    return tuple(each())
