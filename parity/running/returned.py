"""The logits that a backend returns are those that it emits: users get the former, and the latter are judged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.dtypes import as_float64, unit_roundoff
from parity.running.recorder import Sink
from parity.scenario import Scenario

ROUNDINGS = 2.0
"""Units of roundoff of a token's largest logit that both may differ by. What is returned may be rounded once more on
its way, to the arithmetic's own format: by one unit at most, or two where the rest is cut off."""


class ReturnedLogits:
    """Passes tensors on to a sink, and notes the phases whose returned logits are others than the emitted ones.

    Args:
        sink: takes the tensors.
        logits: name of the contract's logits; empty where it has none.
        scenario: says which tokens are real.
        dtype: the arithmetic of the run.

    Attributes:
        differing: by phase, in words, where both differ most.
    """

    def __init__(self, sink: Sink, logits: str, scenario: Scenario, dtype: str) -> None:
        self.differing: dict[str, str] = {}
        self._sink, self._logits, self._scenario = sink, logits, scenario
        self._allowed = ROUNDINGS * unit_roundoff(dtype)
        self._phase = ""
        self._emitted: NDArray[Any] | None = None

    def begin(self, phase: str) -> None:
        """Tensors that follow are of `phase`."""
        self._phase, self._emitted = phase, None
        self._sink.begin(phase)

    def add(self, step: str, occurrence: int, axes: tuple[str, ...], array: NDArray[Any]) -> None:
        """Pass one tensor on; the logits are kept until the phase's are returned."""
        if step == self._logits and occurrence == 0:
            self._emitted = array.copy()
        self._sink.add(step, occurrence, axes, array)

    def end(self) -> None:
        """The phase is over."""
        self._sink.end()

    def compare(self, returned: NDArray[Any]) -> None:
        """Hold what `forward` returned of the phase that is over, ``[batch, token, vocabulary]``, against its step.

        Either may be of the last token alone: then that is compared.
        """
        if self._emitted is None:
            return
        emitted, self._emitted = self._emitted, None
        if emitted.ndim == returned.ndim == 3 and 1 in (emitted.shape[1], returned.shape[1]):
            emitted, returned = emitted[:, -1:], returned[:, -1:]
        if said := self._difference(as_float64(emitted), as_float64(returned)):
            self.differing[self._phase] = said

    def _difference(self, emitted: NDArray[np.float64], returned: NDArray[np.float64]) -> str:
        if emitted.size != returned.size or returned.ndim != 3:
            return f"shape {[*returned.shape]}, emitted {[*emitted.shape]}"
        emitted = emitted.reshape(returned.shape)
        real = self._scenario.valid(self._phase, returned.shape[1])[:, :, None]
        largest = np.max(np.abs(emitted), axis=-1, keepdims=True, initial=0.0, where=np.isfinite(emitted))
        with np.errstate(invalid="ignore"):  # of infinities
            same = (emitted == returned) | (np.isnan(emitted) & np.isnan(returned))
            apart = np.where(same | ~real, 0.0, np.abs(returned - emitted))
        beyond = np.where(np.isnan(apart), np.inf, apart) - self._allowed * largest
        if not beyond.size or beyond.max() <= 0:
            return ""
        row, token, number = np.unravel_index(int(beyond.argmax()), beyond.shape)
        value, other = returned[row, token, number], emitted[row, token, number]
        return f"logit {number} at row {row}, token {token} is {value:.6g}, emitted {other:.6g}"
