"""Generic causes inside attention: scores of another size, another axis, mask, queries, keys or values.

Attention is recognised by what it makes: a step that is ``softmax(q k^T x scale) v`` of earlier steps, under a mask of
the contract or none, in one of two layouts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from parity.diagnosis.earlier import Earlier
from parity.diagnosis.evidence import Evidence, Piece
from parity.diagnosis.formulas import PROMISING
from parity.diagnosis.hypothesis import Hypothesis
from parity.diagnosis.masks import Mask
from parity.diagnosis.numerals import factor
from parity.diagnosis.softmax import instead, least, softmax
from parity.traces.measure import Float

IS_ATTENTION = 1e-6
"""A step of the oracle is attention of others where so little of it is left."""
QUERIES = 4
"""Of the steps of the context's shape so many are tried as its queries."""
STORES = 12
"""Of the steps that may be keys or values so many pairs are tried."""
QUERY_ROWS = 48
"""Rows of queries on which attention is tried before it is computed whole."""
DIMENSIONS = 4
"""The rank of the context, in both layouts."""


@dataclass(frozen=True, eq=False)
class Attention:
    """One phase's inputs.

    Attributes:
        queries: ``[batch, token, head, channel]``.
        keys: ``[batch, kv_head, key, channel]``.
        values: the same.
        mask: which keys a query sees, ``[batch, token, key]``; None for all.
        scale: of the scores.
        tiled: whether query head h looks at key head h modulo their number; else neighbours share one.
    """

    queries: Float
    keys: Float
    values: Float
    mask: Mask | None
    scale: float
    tiled: bool = False

    @property
    def possible(self) -> bool:
        """Whether the shapes belong together."""
        rows, tokens, heads, width = self.queries.shape
        stores = self.keys.shape == self.values.shape and (self.keys.shape[0], self.keys.shape[3]) == (rows, width)
        seen = self.mask is None or self.mask.shape == (rows, tokens, self.keys.shape[2])
        return stores and heads % self.keys.shape[1] == 0 and seen

    def context(self, axis: int = -1) -> Float:
        """Values weighed by a softmax over the keys (or over another axis of ``batch, head, token, key``)."""
        heads, stores = np.arange(self.queries.shape[2]), self.keys.shape[1]
        looked_at = heads % stores if self.tiled else heads // (len(heads) // stores)
        keys, values = (x[:, looked_at] for x in (self.keys, self.values))
        scores = np.einsum("bthc,bhkc->bhtk", self.queries, keys, optimize=True) * self.scale
        if self.mask is not None:
            scores = np.where(self.mask[:, None], scores, -np.inf)
        found: Float = np.einsum("bhtk,bhkc->bthc", softmax(scores, axis), values, optimize=True)
        return found

    def rows(self, kept: NDArray[np.int64]) -> Attention:
        """Some tokens' queries alone."""
        return replace(self, queries=self.queries[:, kept], mask=None if self.mask is None else self.mask[:, kept])


@dataclass(frozen=True)
class HeadLayout:
    """How the steps of one attention stand.

    Attributes:
        width: channels of a head in maps ``[image, head * channel, height, width]``; 0 where heads are an axis.
    """

    width: int = 0

    def queries(self, x: Float) -> Float:
        """The queries as ``[batch, token, head, channel]``."""
        if not self.width:
            return x
        return x.reshape(x.shape[0], -1, self.width, x.shape[2] * x.shape[3]).transpose(0, 3, 1, 2)

    def store(self, x: Float) -> Float:
        """The keys or values as ``[batch, kv_head, key, channel]``."""
        if not self.width:
            return x
        return x.reshape(x.shape[0], 1, self.width, -1).swapaxes(2, 3)

    def back(self, context: Float, shape: Sequence[int]) -> Float:
        """A context as the step has it."""
        return context.transpose(0, 2, 3, 1).reshape(shape) if self.width else context

    def piece(self, piece: Piece) -> Piece:
        """A piece of evidence in the common layout."""
        counted = self.queries(piece.counted.astype(np.float64)) > 0
        oracle, candidate = self.queries(piece.oracle), self.queries(piece.candidate)
        return replace(piece, oracle=oracle, candidate=candidate, counted=counted)


@dataclass(frozen=True, eq=False)
class _Found:
    """The attention that a step is: phase by phase, and of which steps."""

    layout: HeadLayout
    phases: tuple[Attention, ...]
    names: dict[str, str]


def attentions(evidence: Evidence, earlier: Earlier) -> Iterator[Hypothesis]:
    """What a step that is attention would be with one part of it wrong."""
    if all(piece.oracle.ndim == DIMENSIONS for piece in evidence.pieces):
        found = next((found for layout in _layouts(evidence, earlier) if (found := _recognised(layout))), None)
        if found is not None:
            yield from _wrong(evidence, earlier, found)


class _Reader:
    """Earlier steps in one layout."""

    def __init__(self, evidence: Evidence, earlier: Earlier, layout: HeadLayout) -> None:
        self.layout, self.earlier = layout, earlier
        self.pieces = tuple(layout.piece(piece) for piece in evidence.pieces)
        self._shape = evidence.pieces[0].oracle.shape
        self.masks = ["", *([] if layout.width else earlier.masks(self._shape[:2]))]

    def queries(self) -> list[str]:
        """Steps that may be queries."""
        return [value.name for value in self.earlier.same if "[" not in value.name]

    def stores(self) -> list[str]:
        """Steps that may be keys or values, the nearest first."""
        return [name for name in self.earlier.names if self.is_store(name)]

    def is_store(self, name: str) -> bool:
        """Whether a step has the shape of keys or values."""
        shape = self.earlier.shape(name)
        if len(shape) != DIMENSIONS or shape[0] != self._shape[0]:
            return False
        return shape[1] == self.layout.width if self.layout.width else shape[3] == self._shape[3]

    def attention(self, names: dict[str, str], scale: float) -> tuple[Attention, ...] | None:
        """Phase by phase; None where the steps do not fit together."""
        parts = {part: self.earlier.tensors(name) for part, name in names.items() if name}
        if any(tensors is None for tensors in parts.values()):
            return None
        if self.layout.width and len({tensor.shape[1] for tensor in parts["keys"] or ()}) > 1:
            return None
        phases = []
        for phase in range(len(self.pieces)):
            given = {part: tensors[phase] for part, tensors in parts.items() if tensors is not None}
            queries, mask = self.layout.queries(given["queries"]), given.get("mask")
            keys, values = (self.layout.store(given[part]) for part in ("keys", "values"))
            phases.append(Attention(queries, keys, values, None if mask is None else mask > 0, scale))
        return tuple(phases) if all(one.possible for one in phases) else None


def _layouts(evidence: Evidence, earlier: Earlier) -> Iterator[_Reader]:
    """Heads as an axis; and as part of one, which then is of one size in all phases, as that of tokens is not."""
    yield _Reader(evidence, earlier, HeadLayout())
    shape = evidence.pieces[0].oracle.shape
    if any(piece.oracle.shape[1] != shape[1] for piece in evidence.pieces):
        return
    widths = {earlier.shape(name)[1] for name in earlier.names if len(earlier.shape(name)) == DIMENSIONS}
    for width in sorted(width for width in widths if width < shape[1] and shape[1] % width == 0):
        yield _Reader(evidence, earlier, HeadLayout(width))


def _recognised(reader: _Reader) -> _Found | None:
    stores = reader.stores()[:STORES]
    for queries in reader.queries()[:QUERIES]:
        for values, keys in pairwise(stores):
            for mask in reader.masks:
                names = {"queries": queries, "keys": keys, "values": values, "mask": mask}
                for scale in (1.0, reader.pieces[0].oracle.shape[-1] ** -0.5):
                    phases = reader.attention(names, scale)
                    if phases and _left(reader.pieces, phases, "oracle") <= IS_ATTENTION**2 * _power(reader.pieces):
                        return _Found(reader.layout, phases, names)
    # keys and values of a map may have steps of their own between them
    return _apart(reader, stores) if reader.layout.width else None


def _apart(reader: _Reader, stores: Sequence[str]) -> _Found | None:
    for queries in reader.queries()[:1]:
        for keys in stores[2:]:
            names = {"queries": queries, "keys": keys, "values": stores[0], "mask": ""}
            phases = reader.attention(names, reader.layout.width**-0.5)
            if phases and _left(reader.pieces, phases, "oracle") <= IS_ATTENTION**2 * _power(reader.pieces):
                return _Found(reader.layout, phases, names)
    return None


def _wrong(evidence: Evidence, earlier: Earlier, found: _Found) -> Iterator[Hypothesis]:
    reader = _Reader(evidence, earlier, found.layout)

    def said(name: str, says: str, contexts: Sequence[Float], freedom: int = 0) -> Hypothesis:
        pairs = zip(contexts, evidence.pieces, strict=True)
        values = [found.layout.back(context, piece.oracle.shape) for context, piece in pairs]
        return instead(evidence, name, says, values, freedom)

    best = least(lambda times: _left(reader.pieces, _scaled(found.phases, times), "candidate"))
    contexts = [one.context() for one in _scaled(found.phases, best)]
    yield said("scores", f"the scores are multiplied by {factor(best)}", contexts, freedom=1)
    for axis, what in ((-2, "the queries"), (-3, "the heads")):
        yield said("softmax-axis", f"the softmax is over {what}", [one.context(axis) for one in found.phases])
    energy = sum(float(np.square(piece.error[:, _kept(piece)]).sum()) for piece in reader.pieces)
    for name, says, phases in _otherwise(reader, found):
        if _left(reader.pieces, phases, "candidate") < PROMISING * energy:
            yield said(name, says, [one.context() for one in phases])


def _otherwise(reader: _Reader, found: _Found) -> Iterator[tuple[str, str, tuple[Attention, ...]]]:
    """Attention with another mask, other queries, or keys and values of another step."""
    names, scale = found.names, found.phases[0].scale
    others = {
        "mask": reader.masks,
        "queries": reader.queries(),
        "keys": [*reader.stores(), *filter(reader.is_store, reader.earlier.like(names["keys"]))],
        "values": [*reader.stores(), *filter(reader.is_store, reader.earlier.like(names["values"]))],
    }
    for part, candidates in others.items():
        for name in dict.fromkeys(candidates):
            if name != names[part] and (phases := reader.attention({**names, part: name}, scale)):
                says = f"the {part} {'is' if part == 'mask' else 'are'} {name}" if name else "there is no mask"
                yield part, says, phases
    heads, stores = found.phases[0].queries.shape[2], found.phases[0].keys.shape[1]
    if 1 < stores < heads:
        says = f"query head h looks at key head h % {stores}, where it should at h // {heads // stores}"
        yield "heads", says, tuple(replace(one, tiled=True) for one in found.phases)
    for by, whose in ((1, "before"), (-1, "behind")):
        rolled = (replace(one, mask=None if one.mask is None else np.roll(one.mask, by, 2)) for one in found.phases)
        yield "mask", f"each key is seen where the one {whose} it should be", tuple(rolled)


def _scaled(phases: Sequence[Attention], times: float) -> tuple[Attention, ...]:
    return tuple(replace(one, scale=one.scale * times) for one in phases)


def _kept(piece: Piece) -> NDArray[np.int64]:
    tokens = piece.oracle.shape[1]
    return np.unique(np.linspace(0, tokens - 1, min(tokens, QUERY_ROWS)).astype(np.int64))


def _left(pieces: Sequence[Piece], phases: Sequence[Attention], of: str) -> float:
    """What some rows of an attention leave of the oracle's values, or of the candidate's."""
    left = 0.0
    for piece, attention in zip(pieces, phases, strict=True):
        kept = _kept(piece)
        apart = attention.rows(kept).context() - getattr(piece, of)[:, kept]
        left += float(np.square(np.where(piece.counted[:, kept], apart, 0.0)).sum())
    return left


def _power(pieces: Sequence[Piece]) -> float:
    return sum(float(np.square(piece.oracle[:, _kept(piece)]).sum()) for piece in pieces)
