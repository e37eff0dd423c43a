"""Tables that the host looks up, in palettes: a row is expanded when it is looked up, and no table ever is.

A number is a place in a palette, of `bits` bits; a row's places lie bit behind bit, the lowest first, as Core ML has
them before iOS 18. Entries are those of k-means.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from implementations.coreml.package.settings import Format

LOOKED_UP = ("embed_tokens", "embed_tokens_per_layer")
"""The tables, as the embedder calls them."""
PLACES, ENTRIES = "places", "entries"
BLOCK = 1 << 24
"""Numbers that are looked at once: a table may have two billion."""
ROUNDS = 100
"""Of k-means, at most: it is done when no entry moves."""


class PaletteTable(nn.Module):
    """A table in an embedding's place.

    Args:
        rows: of the table.
        columns: numbers of a row.
        form: bits of a place, and how many rows have a palette in common.

    Attributes:
        places: packed, ``[row, byte]``, uint8.
        entries: ``[palette, entry]``.
    """

    places: Tensor
    entries: Tensor

    def __init__(self, rows: int, columns: int, form: Format) -> None:
        super().__init__()
        bits = form.palette_bits or 0
        self._columns, self._group = columns, form.group or rows
        width = -(-columns * bits // 8)
        self.register_buffer(PLACES, torch.zeros(rows, width, dtype=torch.uint8))
        self.register_buffer(ENTRIES, torch.zeros(-(-rows // self._group), 1 << bits))

    def forward(self, ids: Tensor) -> Tensor:
        """The rows of some ids, ``[..., column]``."""
        places = unpacked(self.places[ids], len(self.entries[0]), self._columns)
        return self.entries[ids // self._group].gather(-1, places.long())


def in_palettes(table: Tensor, form: Format) -> dict[str, Tensor]:
    """A table ``[row, column]`` of float16 as what a `PaletteTable` of it has."""
    bits, values = form.palette_bits or 0, table.numpy()
    entries, places = [], []
    for rows in _split(values, form.group or len(values)):
        entries.append(_fitted(rows, 1 << bits))
        for block in _split(rows, max(1, BLOCK // rows.shape[1])):
            places.append(_packed(_nearest(block, entries[-1]), bits))
    return {PLACES: torch.from_numpy(np.concatenate(places)), ENTRIES: torch.from_numpy(np.stack(entries))}


def unpacked(packed: Tensor, entries: int, count: int) -> Tensor:
    """So many places in a palette of so many entries, of each row of bytes; uint8.

    Raises:
        ValueError: where a row has fewer.
    """
    bits = (entries - 1).bit_length()
    if packed.shape[-1] * 8 < count * bits:
        raise ValueError(f"{packed.shape[-1]} bytes of {count} places with {bits} bits")
    found = np.unpackbits(packed.numpy(), axis=-1, count=count * bits, bitorder="little")
    places = np.packbits(found.reshape(*packed.shape[:-1], count, bits), axis=-1, bitorder="little")
    return torch.from_numpy(places[..., 0])


def _packed(places: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    found = np.unpackbits(places[..., None], axis=-1, count=bits, bitorder="little")
    return np.packbits(found.reshape(len(places), -1), axis=-1, bitorder="little")


def _fitted(values: NDArray[np.float16], count: int) -> NDArray[np.float16]:
    """Entries by k-means, in ascending order.

    Float16 has 65,536 numbers, so how often each occurs is all that is needed, however large the table is.
    """
    from sklearn.cluster import KMeans  # takes seconds to import, which who looks up need not wait for

    every = np.arange(1 << 16, dtype=np.uint16)
    times = np.zeros(len(every), np.int64)
    for block in _split(values, max(1, BLOCK // values.shape[1])):
        times += np.bincount(block.view(np.uint16).ravel(), minlength=len(every))
    order = np.argsort(every.view(np.float16), kind="stable")
    numbers = every.view(np.float16)[order].astype(np.float64)
    there = (times[order] > 0) & np.isfinite(numbers)
    numbers, weights = numbers[there], times[order][there]
    if len(numbers) <= count:
        return np.pad(numbers if len(numbers) else [0.0], (0, count - max(1, len(numbers))), "edge").astype(np.float16)
    means = KMeans(count, n_init=1, max_iter=ROUNDS, tol=0, random_state=0)
    means.fit(numbers[:, None], sample_weight=weights)
    return np.sort(means.cluster_centers_[:, 0].astype(np.float16))


def _nearest(values: NDArray[np.float16], entries: NDArray[np.float16]) -> NDArray[np.uint8]:
    true = entries.astype(np.float32)
    return np.searchsorted((true[1:] + true[:-1]) / 2, values.astype(np.float32)).astype(np.uint8)


def _split(values: NDArray[np.float16], rows: int) -> Iterator[NDArray[np.float16]]:
    """So many rows after the other."""
    return (values[first : first + rows] for first in range(0, len(values), rows))
