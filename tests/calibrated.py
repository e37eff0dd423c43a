"""A toy reference that draws inputs, and candidates of it: right ones, a wrong one, and one that refuses."""

from __future__ import annotations

import os

from parity.errors import BackendUnavailable
from parity.scenario import Drawn
from tests.toy import Toy

ELSEWHERE = "TOY_ELSEWHERE"


class Drawing(Toy):
    """Draws a prompt of digits."""

    name = "drawing"

    @classmethod
    def draw(cls, draw, folder):
        """One of a million."""
        return Drawn("toy", str(draw.randrange(10**6)))

    @classmethod
    def environments(cls):
        """One besides the usual."""
        return {"elsewhere": {ELSEWHERE: "1"}}


class Right(Toy):
    """Is right, and has no other environment."""


class Wrong(Toy):
    """Is wrong by a thousandth, where the variable is set."""

    environments = Drawing.environments

    @classmethod
    def load(cls, checkpoint, dtype, **options):
        """Look at the environment."""
        wrong = {"embed": lambda value: value * value.dtype.type(1.001)} if ELSEWHERE in os.environ else {}
        return cls(dtype, wrong)


class Refusing(Toy):
    """Takes nothing."""

    def forward(self, token_ids, *, prompts=(), tap):
        """Say why."""
        raise BackendUnavailable("no input is good enough")
