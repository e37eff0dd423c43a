"""Options of the backend, as users write them: ``ane@alpha=0.125,context=256``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from implementations.gemma3n.option_texts import OptionTexts
from parity.errors import UsageError

DEFAULT_CONTEXT = 1024
MEANINGS: dict[str, str] = {
    "alpha": "factor on the residual stream, which keeps float16 in range; 1 by default, powers of two cost no error",
    "context": "positions that the compiled program holds; by default the model's, at most 1024",
    "batch": "tokens of a compiled prefill call; 64 by default",
    "limit": "magnitude beyond which float16-ane gives infinity; 32752 by default, inf for float16's own range",
}


@dataclass(frozen=True)
class Options:
    """How a checkpoint is compiled and run; see `MEANINGS`.

    Attributes:
        context: None for the default, which depends on the model.
    """

    alpha: float = 1.0
    context: int | None = None
    batch: int = 64
    limit: float = 32_752.0

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> Options:
        """Read options that were given by name.

        Raises:
            UsageError: for an unknown name, or a value that is no positive number.
        """
        given = OptionTexts("ane", MEANINGS, texts)
        return cls(**{name: _number(name, text) for name, text in given.texts.items()})

    def fitted(self, positions: int) -> int:
        """The compiled context for a model of so many `positions`.

        Raises:
            UsageError: for a context that the model does not have, or that is shorter than the prefill batch.
        """
        context = min(positions, DEFAULT_CONTEXT) if self.context is None else self.context
        if context > positions:
            raise UsageError(f"backend ane: context={context}, the model has {positions} positions; give at most these")
        if self.batch > context:
            raise UsageError(f"backend ane: batch={self.batch} exceeds the context of {context}; give a smaller batch")
        return context


def _number(name: str, text: str) -> Any:
    types: dict[str, Callable[[str], Any]] = {"alpha": float, "limit": float, "context": int, "batch": int}
    assert types.keys() == {field.name for field in fields(Options)}
    kind = types[name]
    try:
        value = kind(text)
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise UsageError(f"backend ane: {name}={text} is not {what}: {MEANINGS[name]}") from error
    if not value > 0 or (name == "alpha" and math.isinf(value)):
        raise UsageError(f"backend ane: {name}={text} is not positive and finite: {MEANINGS[name]}")
    return value
