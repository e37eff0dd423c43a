"""Wrong taps that tests hand to the harness as candidates, ``tests.deviations:<name>``.

Known bugs are variants of the reference: see `reference.gemma3n.variants`.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np

from parity.tap import Tap
from reference.gemma3n.huggingface import Reference


class _Tapping(Reference):
    """The reference whose tap goes through `heard` first."""

    def forward(self, token_ids: Any, *, prompts: Any = (), tap: Tap) -> Any:
        """Run with the wrapped tap."""
        return super().forward(token_ids, tap=lambda step, value: self.heard(tap, step, value))

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Pass a step on."""
        return tap(step, value)


TAPPED = "text.layers.3.mlp.up_proj"


class Missing(_Tapping):
    """Does not emit one step."""

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Keep one step back."""
        return value if step == TAPPED else tap(step, value)


class Renamed(_Tapping):
    """Emits one step under another name."""

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Misspell one step."""
        return tap(step + "s" if step == TAPPED else step, value)


class Doubled(_Tapping):
    """Emits one step twice."""

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Say one step twice."""
        return tap(step, tap(step, value)) if step == TAPPED else tap(step, value)


class Transposed(_Tapping):
    """Emits one step with its axes swapped."""

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Swap two axes of one step on its way out and back."""
        return tap(step, value.transpose(-1, -2)).transpose(-1, -2) if step == TAPPED else tap(step, value)


class NotFinite(_Tapping):
    """Has a NaN in one step."""

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Break one element."""
        if step == TAPPED:
            value[0, 0, 0] = np.nan
        return tap(step, value)


class Killed(_Tapping):
    """Is killed at one step, as by the kernel for want of memory."""

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Die behind one step."""
        value = tap(step, value)
        if step == TAPPED:
            os.kill(os.getpid(), signal.SIGKILL)
        return value


class Throwing(_Tapping):
    """Throws at one step."""

    def heard(self, tap: Tap, step: str, value: Any) -> Any:
        """Throw behind one step."""
        value = tap(step, value)
        if step == TAPPED:
            raise RuntimeError("kernel launch failed")
        return value
