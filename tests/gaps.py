"""Candidates that say less: a party whose taps at some steps are silent, as in a port that fuses them."""

from __future__ import annotations

from fnmatch import fnmatchcase

from parity.backend import Backend
from parity.tap import ScopedTap


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
