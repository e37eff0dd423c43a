"""Toys whose table is as large as their weights say: a reference that reads them, and ports, one with its own."""

from __future__ import annotations

import numpy as np

from parity.checkpoint import OVERLAY
from parity.weights.overlay import write_overlay
from parity.weights.stored import stored
from tests.toy import Toy

FACTOR, OWN = "norm.weight", 1.5
"""A tensor of the embedded checkpoint that the toy is multiplied by, of its first number; and what the port has."""


class Read(Toy):
    """Multiplies its table by what is beside the checkpoint."""

    @classmethod
    def load(cls, checkpoint, dtype, **options):
        """One number of the weights."""
        return cls(dtype).times(stored(checkpoint, str)[FACTOR].read()[0])

    def times(self, factor):
        """The same, larger."""
        self.table *= self.table.dtype.type(factor)
        return self


class Port(Read):
    """Has the checkpoint's."""

    name = "port"


class Quantized(Toy):
    """Has another number, and says so."""

    name = "quantized"

    @classmethod
    def load(cls, checkpoint, dtype, **options):
        """Whatever the checkpoint has; one without an overlay, for that is the reference's."""
        assert not (checkpoint / OVERLAY).exists()
        return Read(dtype).times(OWN)

    @classmethod
    def has_weights(cls, options):
        """It does."""
        return True

    @classmethod
    def write_weights(cls, checkpoint, file, options):
        """The number."""
        write_overlay(file, {FACTOR: np.full(128, OWN)})


class Silent(Quantized):
    """Has another number, and does not say so."""

    @classmethod
    def has_weights(cls, options):
        """It does not."""
        return False


class Failing(Quantized):
    """Cannot say which."""

    @classmethod
    def write_weights(cls, checkpoint, file, options):
        """Throws."""
        raise RuntimeError("no such weights")
