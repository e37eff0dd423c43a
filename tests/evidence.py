"""Evidence for the search for causes, of an oracle's and a candidate's tensors that are made by hand."""

from __future__ import annotations

import dataclasses

import numpy as np

from parity.diagnosis.evidence import Evidence, Piece
from parity.diagnosis.generic import generic
from parity.diagnosis.hypothesis import choose, fit
from parity.traces.trace import Key

AXES = ("batch", "token", "hidden")
EPSILON = 2.0**-24


def true(seed, shape=(1, 9, 64)):
    """An oracle's tensor."""
    return np.random.default_rng(seed).normal(size=shape)


def evidence(*pairs, axes=AXES, floor=EPSILON):
    """What the judge would have of an oracle's and a candidate's tensors, a phase each."""
    pieces = []
    for number, (oracle, candidate) in enumerate(pairs):
        noise = floor**2 * float(np.vdot(candidate, candidate))
        counted = np.ones(oracle.shape, bool)
        pieces.append(Piece(Key(f"chunk.{number}", "x"), axes, oracle, candidate, counted, noise))
    return Evidence(tuple(pieces))


def named(found):
    """The generic cause that is named: name and coefficient; None for none."""
    chosen = choose(found, [fit(found, each) for each in generic(found)])
    return chosen and (chosen[0].hypotheses[0].name, chosen[0].alphas[0])


def noisy(seed, wrong):
    """Float32's own error, on top of the fault."""
    return wrong * (1 + EPSILON * np.random.default_rng(seed + 1).normal(size=wrong.shape))


def mask(*pairs):
    """Evidence of masks."""
    found = evidence(
        *((true.astype(float), made.astype(float)) for true, made in pairs), axes=("batch", "token", "key")
    )
    return Evidence(tuple(dataclasses.replace(piece, mask=True, noise=0.0) for piece in found.pieces))
