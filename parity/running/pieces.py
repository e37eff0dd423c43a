"""Tensors that a backend of fixed shapes emits in parts: a chunk longer than its batch takes several calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Place
from parity.dtypes import is_float, name_of


class Pieces:
    """The tensors of one chunk, as far as they were emitted.

    What no part covers stays NaN (the least number of an integer, False of a mask), so that a missing part is no pass.
    """

    def __init__(self) -> None:
        self._wholes: dict[str, NDArray[Any]] = {}
        self._places: Counter[tuple[str, str]] = Counter()

    def again(self, name: str, shape: tuple[int, ...], place: Place) -> int:
        """How often the same part was emitted before; 0 for what is whole, which every call emits anew."""
        if all(one.indices(size) == (0, size, 1) for one, size in zip(place, shape, strict=True)):
            return 0
        self._places[name, str(place)] += 1
        return self._places[name, str(place)] - 1

    def add(self, name: str, part: NDArray[Any], shape: tuple[int, ...], place: Place) -> None:
        """Put `part` at its place in the step's tensor of `shape`; a part of another shape is kept as the whole.

        A later part may cover an earlier one again, e.g. keys that were seen by both: what was emitted last stays.
        """
        whole = self._wholes.setdefault(name, _blank(shape, part.dtype))
        if whole.shape == shape and whole[place].shape == part.shape:
            whole[place] = part
        else:
            self._wholes[name] = part.copy()

    def assembled(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Names and tensors in the order of first emission; forgets them."""
        yield from self._wholes.items()
        self._wholes.clear()
        self._places.clear()


def _blank(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    if is_float(name_of(dtype)):
        return np.full(shape, np.nan, dtype)
    return np.full(shape, False if dtype == np.bool_ else np.iinfo(dtype).min, dtype)
