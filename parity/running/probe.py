"""Runs a reference in lockstep no further than needed, for the tensors of a few steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Reference
from parity.errors import ParityError, UsageError
from parity.media import resolve
from parity.running.answers import Answers
from parity.tap import ScopedTap
from parity.traces.trace import Key, Trace


def probe(
    reference: Reference, oracle: Trace, wanted: Collection[Key], missing: Collection[str] = ()
) -> dict[Key, NDArray[Any]]:
    """What a loaded reference has at some steps, from the oracle's exact inputs; those that do not occur are absent.

    Values of `missing` steps are its own, as they are in a candidate that does not emit them.

    Raises:
        UsageError: where a step before the last of them has another shape, so that it cannot be made exact.
    """
    scenario, last = oracle.scenario, max((key.phase for key in wanted), key=_order(oracle))
    listener = _Listener(reference, oracle, wanted, missing)
    reference.start(padding=scenario.padding, cache=scenario.cache)
    for chunk in scenario.chunks:
        prompts = tuple(resolve(prompt, oracle.path) for prompt in chunk.prompts)
        listener.begin(chunk.phase, stop=chunk.phase == last)
        try:
            reference.forward(np.asarray(chunk.tokens, dtype=np.int64), prompts=prompts, tap=listener.tap)
        except _Enough:
            break
        if chunk.phase == last:
            break
    return listener.found


def planted(
    reference: Reference,
    variants: Sequence[tuple[str, str]],
    oracle: Trace,
    wanted: Collection[Key],
    missing: Collection[str] = (),
) -> dict[Key, NDArray[Any]]:
    """The same with known bugs, which the reference loses again.

    Raises:
        UsageError: where these inputs do not go through the reference with those bugs.
    """
    reference.vary(variants)
    reference.focus(() if missing else {key.step for key in wanted})
    try:
        return probe(reference, oracle, wanted, missing)
    except ParityError:
        raise
    except Exception as error:  # a bug that cannot run here is not the one that is looked for, and no crash
        raise UsageError(f"{', '.join(name for name, _ in variants)}: {type(error).__name__}: {error}") from error
    finally:
        reference.vary([])
        reference.focus(())


def _order(oracle: Trace) -> Any:
    return [chunk.phase for chunk in oracle.scenario.chunks].index


class _Enough(BaseException):
    """Everything that was wanted is there. Not an `Exception`, which a framework might take for its own."""


class _Listener:
    """Answers every step with the oracle's value, and keeps what is wanted."""

    def __init__(self, reference: Reference, oracle: Trace, wanted: Collection[Key], missing: Collection[str]) -> None:
        self.tap = ScopedTap(self._receive)
        self.found: dict[Key, NDArray[Any]] = {}
        self._answers = Answers(oracle.contract, reference.tensors, oracle, oracle.scenario)
        self._wanted = set(wanted)
        self._missing = frozenset(missing)

    def begin(self, phase: str, *, stop: bool) -> None:
        self._phase, self._stop = phase, stop
        self._seen: Counter[str] = Counter()

    def _receive(self, name: str, value: Any) -> Any:
        key = Key(self._phase, name, self._seen[name])
        self._seen[name] += 1
        if key in self._wanted:
            array = self._answers.to_numpy(name, self._answers.scaled(name, value))
            self.found[key] = np.array(array[self._answers.common(key, array.shape)])
            if self._stop and self._wanted <= set(self.found):
                raise _Enough
        if name in self._missing or self._answers.shape(key) is None:
            return value
        if (answer := self._answers.answer(key, value)) is None:
            raise UsageError(f"{name} has the shape {tuple(value.shape)}: what follows has no exact inputs")
        return answer
