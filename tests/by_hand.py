"""What parties have in common that a test makes around a part of a model."""

from __future__ import annotations


class MadeByHand:
    """To stand before a backend's class: there is nothing to load, and no conversation."""

    @classmethod
    def versions(cls):
        """Of no interest."""
        return {}

    @classmethod
    def load(cls, checkpoint, dtype, **options):
        """It is made where it is used."""
        raise NotImplementedError

    def start(self, *, padding, cache):
        """Nothing to forget."""
