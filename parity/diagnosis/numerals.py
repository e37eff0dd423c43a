"""Numbers as people say them: ``1/2``, ``ln 2``, ``1 - 5e-6``, ``1/sqrt(2)``, not ``0.693147``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cache

from parity.dtypes import numpy_dtype

NOTHING = 1e-12
"""What is left of a number that float64 cancels."""
EXACT = 1e-6
"""A fit in float32 is uncertain by less than this share; in bfloat16 by more, where numbers are told plainly."""
AROUND_ONE = 0.01
"""Nearer than this, the distance from 1 says more than the number does."""
LARGEST = 64
"""Roots and fractions of whole numbers up to here are told as such; beyond, too many lie close together."""
WIDTHS = tuple(2**power for power in range(7, 14))
"""Roots of these are told too: hidden sizes and vocabularies are mostly powers of two."""
ROUNDINGS = ("bfloat16", "float16")
PRECISE = 1e-3
"""A constant's rounding is told where the distance from 1 is its own to so many parts."""


def said(value: float) -> str:
    """A number in the shortest words that are true to `EXACT`, else in four digits."""
    if abs(value) < NOTHING:
        return "0"
    if not math.isfinite(value):
        return f"{value:g}"
    size = abs(value)
    name = next((text for text, known in _constants().items() if abs(size / known - 1) < EXACT), None)
    if name is None and abs(size - 1) < AROUND_ONE:
        name = f"1 {'+' if size > 1 else '-'} {abs(size - 1):.3g}"
        if value < 0:
            return f"-({_exponent(name)})"
    sign = "-" if value < 0 else ""
    return sign + (name if name and name in _constants() else _exponent(name or f"{size:.4g}"))


def span(values: Iterable[float]) -> str:
    """The least and the largest, e.g. ``1/2 to 2``; one of them where they are told alike."""
    least, most = said(min(held := list(values))), said(max(held))
    return least if least == most else f"{least} to {most}"


def factor(value: float) -> str:
    """A factor, and what it comes from where that is a constant that a coarse format rounds."""
    origin = next((text for text, known in _roundings() if abs((value - 1) / (known - 1) - 1) < PRECISE), "")
    return f"{said(value)}{f', which is {origin}' if origin else ''}"


@cache
def _constants() -> dict[str, float]:
    """Numbers that have names, the plainest name of each first."""
    found: dict[str, float] = {}

    def add(text: str, value: float) -> None:
        if not any(abs(value / known - 1) < EXACT for known in found.values()):
            found[text] = value

    for number in range(1, 1025):
        add(str(number), float(number))
    for power in range(-12, 13):
        add(_exponent(f"{10.0**power:g}"), 10.0**power)
    for below in (*range(2, 17), 32, *range(64, 513, 64)):
        for above in range(1, min(below, 17)):
            add(f"{above}/{below}", above / below)
    add("255/256", 255 / 256)
    add("256/255", 256 / 255)
    for text, value in (("ln 2", math.log(2)), ("ln 10", math.log(10)), ("pi", math.pi), ("e", math.e)):
        add(text, value)
        add(f"1/{text}" if " " not in text else f"1/({text})", 1 / value)
    for number in (*range(2, LARGEST + 1), *WIDTHS):
        add(f"sqrt({number})", math.sqrt(number))
        add(f"1/sqrt({number})", 1 / math.sqrt(number))
    return found


@cache
def _roundings() -> tuple[tuple[str, float], ...]:
    """How many times itself a constant is in a coarse format, where it is no number of that format."""

    def each() -> Iterator[tuple[str, float]]:
        for format_ in ROUNDINGS:
            dtype = numpy_dtype(format_)
            for text in ("1/sqrt(2)", "sqrt(2)", *(f"sqrt({width})" for width in WIDTHS), "ln 2", "1/(ln 2)"):
                true = math.sqrt(int(text[5:-1])) if text.startswith("sqrt(") else _constants()[text]
                if (times := float(dtype.type(true)) / true) != 1.0:
                    yield f"{format_}'s rounding of {text}", times

    return tuple(each())


def _exponent(text: str) -> str:
    """``1e-06`` as ``1e-6``."""
    mantissa, mark, power = text.partition("e")
    return f"{mantissa}e{int(power)}" if mark and power.lstrip("+-").isdigit() else text
