"""What is said of a tensor's values in nine numbers: by a record of a trace, and by a report that has no trace."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Description:
    """Extremes, moments and counts of one tensor.

    NaN and infinities are left out of extremes and moments, and counted. A tensor without a finite element (an empty
    one is the usual case) has 0.0 for all of them.

    Attributes:
        min, max, mean: as named; integers beyond 2**53 are rounded.
        std: population standard deviation (divided by n).
        rms: root of the mean square.
        abs_max: largest magnitude.
        zero_fraction: share of elements, among all, that equal zero (either sign).
        nan_count, inf_count: elements that are NaN; that are infinite (either sign).
    """

    min: float
    max: float
    mean: float
    std: float
    rms: float
    abs_max: float
    zero_fraction: float
    nan_count: int
    inf_count: int

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the nine numbers."""
        return tuple(field.name for field in fields(Description))
