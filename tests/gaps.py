"""Candidates that say less: a party whose taps at some steps are silent, as in a port that fuses them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import groupby

from parity.backend import Backend
from parity.contract import Contract
from parity.tap import ScopedTap

LAYERS = "text.layers."
FUSED = (f"{LAYERS}*.*.*", *(f"{LAYERS}*.{step}" for step in ("*norm", "attn_*", "activated", "per_layer_*")))
"""Everything in a layer but what leaves it."""
SCATTERS = 4


class Gapped:
    """A loaded backend without its taps at the steps that match one of `patterns`; it declares them hidden.

    Args:
        wrong: what is done to the values of some steps, before they are emitted.
    """

    def __init__(self, backend: Backend, *patterns: str, hidden: bool = True, wrong=None) -> None:
        self._backend, self._patterns, self._wrong = backend, patterns, wrong or {}
        self.hidden = {**backend.hidden, **(dict.fromkeys(patterns, "fused") if hidden else {})}

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def forward(self, token_ids, *, prompts=(), tap):
        """Pass over the silent steps."""

        def receive(name, value):
            value = self._wrong.get(name, lambda same: same)(value)
            return value if any(fnmatchcase(name, pattern) for pattern in self._patterns) else tap(name, value)

        return self._backend.forward(token_ids, prompts=prompts, tap=ScopedTap(receive))


def scattered(contract: Contract, number: int) -> tuple[str, ...]:
    """One step of each layer, another in each, and every fourth step around the layers.

    What a layer starts from is exact, so one run shows a fault with as many single gaps beside it as there are layers.
    All `SCATTERS` of them leave out each kind of step but the logits.
    """
    names = [step.name for step in contract if step.name != contract.logits]
    layers = [list(steps) for layer, steps in groupby(names, layer_of) if layer]
    # strides with which each kind's turn comes in a layer that has it
    inside = [steps[(5 * number + 3 * at) % len(steps)] for at, steps in enumerate(layers)]
    return (*inside, *[name for name in names if not layer_of(name)][number::SCATTERS])


def layer_of(name: str) -> str:
    """The text layer that a step is of; empty for none."""
    return name.removeprefix(LAYERS).partition(".")[0] if name.startswith(LAYERS) else ""
