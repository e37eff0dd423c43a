"""What tests of our ports are written with: random ids, logits of chunks, and taps that collect."""

import numpy as np

from parity.tap import SILENT, ScopedTap

WINDOW = 16
"""Positions that a sliding layer of the embedded checkpoint sees."""
RANDOM = np.random.default_rng(0)


def ids(rows, count, highest=512):
    """Random token ids behind the special ones."""
    return RANDOM.integers(9, highest, size=(rows, count))


def logits(backend, chunks, padding=(0,), cache=True, tap=SILENT):
    """Logits of all real tokens, ``[real token, vocabulary]``."""
    backend.start(padding=padding, cache=cache)
    whole = np.concatenate([backend.forward(np.asarray(chunk), tap=tap) for chunk in chunks], axis=1)
    return whole[np.arange(whole.shape[1])[None] >= np.array(padding)[:, None]].astype(np.float64)


def distance(left, right):
    """Relative L2 error of `left`."""
    return np.linalg.norm(left - right) / np.linalg.norm(right)


def collecting(answer=lambda name, value: value):
    """A live tap and the list of (name, value) that it fills."""
    steps = []

    def receive(name, value):
        steps.append((name, value))
        return answer(name, value)

    return ScopedTap(receive), steps
