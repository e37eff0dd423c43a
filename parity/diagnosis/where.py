"""Where in a tensor an error is, where it is not everywhere."""

from __future__ import annotations

import numpy as np

from parity.diagnosis.evidence import Evidence, Piece
from parity.diagnosis.hypothesis import UNEXPLAINED

FEW_INDICES = 0.25
"""An error in at most so many of an axis' indices is told."""


def where(evidence: Evidence) -> str:
    """A sentence on the places that hold the whole error; empty where it is spread."""
    true = np.concatenate([piece.oracle.ravel() for piece in evidence.pieces])
    zero = true == 0.0
    if 0 < np.count_nonzero(zero) < true.size and _share(evidence.error[zero], evidence.energy) > 1 - UNEXPLAINED:
        return "only where the reference is zero, as at masked or padded places"
    piece = max(evidence.pieces, key=lambda piece: float(np.vdot(piece.error, piece.error)))
    if len(piece.axes) != piece.oracle.ndim:
        return ""
    said = [text for axis in piece.axes if (text := _along(piece, axis))]
    return f"only {', '.join(said)}" if said else ""


def _along(piece: Piece, axis: str) -> str:
    """Which indices of an axis hold all of the error, where they are few or begin late."""
    at = piece.axes.index(axis)
    energy = np.square(piece.error).sum(axis=tuple(i for i in range(piece.oracle.ndim) if i != at))
    size = len(energy)
    order = np.argsort(energy)[::-1]
    needed = int(np.searchsorted(np.cumsum(energy[order]), (1 - UNEXPLAINED) * energy.sum())) + 1
    held = np.sort(order[:needed])
    if needed == 1 < size:
        return f"at {axis} {held[0]} of {size}"
    if at in piece.layout.sequence and held[0] > 0 and needed >= FEW_INDICES * (size - held[0]):
        return f"from {axis} {held[0]} of {size} on"
    return f"in {needed} of {size} {axis} indices" if needed <= FEW_INDICES * size else ""


def _share(error: np.ndarray, energy: float) -> float:
    return float(np.vdot(error, error)) / energy
