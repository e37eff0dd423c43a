"""The weights that a package holds in fewer bits, by the checkpoint's names: those that its reference is given.

A reference with a package's weights, whatever they are, would find nothing wrong with a package whose weights are
wrong. So a palette, or a scale, is believed only where each of the checkpoint's numbers has become the nearest that
there is; else the checkpoint's own numbers are true.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch

from implementations.ane.decoder import piece_sizes
from implementations.ane.model import LANGUAGE, TABLE, Gemma3n, checkpoint_name
from implementations.ane.scaling import DIVIDED
from implementations.coreml.interpreter.fewer_bits import Array, believed, fewer_bits
from implementations.coreml.model import read_embedder
from implementations.coreml.package.folder import HEAD, Package
from implementations.coreml.package.palettes import LOOKED_UP
from implementations.gemma3n.config import Config
from implementations.gemma3n.weight_names import PUBLISHED, has_head
from parity.errors import UsageError
from parity.weights.names import HEAD as LM_HEAD
from parity.weights.names import bare
from parity.weights.stored import stored

OF_HEAD = re.compile(r"model_head_pieces_(\d+)_weight")
"""What a program calls a piece of the head."""


def true_weights(package: Package, checkpoint: Path, config: Config) -> dict[str, Array]:
    """Weights in fewer bits, by the bare names of the checkpoint's tensors that they stand in place of.

    Raises:
        UsageError: for a package that cannot be read, or a checkpoint that is not of its model.
    """
    originals = _Originals(checkpoint, config, package.settings.alpha)
    found: dict[str, Array] = {}
    pieces: dict[int, Array] = {}
    for name in (*package.decoder, HEAD):
        file, *_ = package.files(name).values()  # functions have their weights in common
        for weight, values, rows in fewer_bits(file):
            source, piece, factor = originals.source(weight, package)
            own = originals.read(source, piece, values.shape, package)
            true = believed(values, own * factor, rows) / factor
            if piece is None:
                found[bare(source)] = true
            else:
                pieces[piece] = true
    if pieces:
        whole = [pieces.get(number, originals.read(originals.head, number)) for number in range(originals.pieces)]
        found[LM_HEAD] = np.concatenate(whole)
    if package.settings.embeddings.weights:
        found |= {bare(name): table for name, table in _tables(package, config, originals)}
        found.setdefault(LM_HEAD, originals.read(originals.head))  # the embedding's table may stand for it, as it was
    return found


def _tables(package: Package, config: Config, originals: _Originals) -> Iterator[tuple[str, Array]]:
    """The tables in palettes that the host looks up, by the checkpoint's names."""
    embedder, alpha = read_embedder(config, package), package.settings.alpha
    for part in LOOKED_UP:
        name, factor = f"{LANGUAGE}{part}.weight", alpha if part == LOOKED_UP[0] else 1.0
        rows = len(getattr(embedder, part).places)
        values = getattr(embedder, part)(torch.arange(rows)).numpy().astype(np.float64)
        own = originals.read(name, shape=values.shape, package=package)
        yield name, believed(values, own * factor, package.settings.embeddings.group or rows) / factor


class _Originals:
    """The checkpoint's own numbers, by what a program calls them."""

    def __init__(self, checkpoint: Path, config: Config, alpha: float) -> None:
        self._tensors, self._alpha = stored(checkpoint, PUBLISHED), alpha
        self.head = LM_HEAD if has_head(config, self._tensors) else TABLE
        sizes = piece_sizes(config.text.vocab_size)
        self.pieces, self._ends = len(sizes), [0, *accumulate(sizes)]
        with torch.device("meta"):
            model = Gemma3n(config, alpha)
        self._names = {name.replace(".", "_"): checkpoint_name(name) for name, _ in model.named_parameters()}

    def source(self, weight: str, package: Package) -> tuple[str, int | None, float]:
        """The checkpoint's tensor that a weight of a program is of, which piece of the head, and what it is scaled by.

        Raises:
            UsageError: for a weight that is none of the model's.
        """
        if (found := OF_HEAD.fullmatch(weight)) is not None and int(found[1]) < self.pieces:
            return self.head, int(found[1]), 1.0
        if (name := self._names.get(weight)) is None:
            raise UsageError(f"package {package.folder} has a weight {weight}, which is none of the model's")
        divided = any(fnmatchcase(name, f"*{pattern}") for pattern in DIVIDED)
        return name, None, 1 / self._alpha if divided else 1.0

    def read(
        self, name: str, piece: int | None = None, shape: tuple[int, ...] | None = None, package: Package | None = None
    ) -> Array:
        """A tensor ``[out, in]``, or a piece of the head.

        Raises:
            UsageError: where it has another shape than the package's.
        """
        array = self._tensors[name].read()
        array = array.reshape(len(array), -1).astype(np.float64)
        array = array if piece is None else array[self._ends[piece] : self._ends[piece + 1]]
        if shape is not None and package is not None and array.shape != shape:
            raise UsageError(
                f"package {package.folder} has {name} of {[*shape]}, the checkpoint of {[*array.shape]}; "
                "is it of this model?"
            )
        return array
