"""What an operation is given: its parameters by the names that the format has for them, omitted ones by their defaults.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Value = Any
"""A tensor, a number, a string, or a list of them; floating-point tensors are float32, whatever they stand for."""


@dataclass(frozen=True)
class Given:
    """The parameters of one operation.

    Args:
        values: by the format's names.
    """

    values: Mapping[str, Value]

    def tensor(self, name: str = "x") -> Tensor:
        """A parameter as a tensor; a number becomes one without axes, float32 where it is no integer."""
        value = self.values[name]
        return value if isinstance(value, Tensor) else torch.tensor(value)

    def optional(self, name: str) -> Tensor | None:
        """The same, None where it is omitted."""
        return self.tensor(name) if name in self.values else None

    def number(self, name: str, default: float | None = None) -> Any:
        """A parameter that is one number, or true or false."""
        value = self._value(name, default)
        return value.item() if isinstance(value, Tensor) else value

    def numbers(self, name: str, default: list[int] | None = None) -> list[int]:
        """A parameter that is a list of whole numbers."""
        value = self._value(name, default)
        found = value.reshape(-1).tolist() if isinstance(value, Tensor) else value
        return [int(each) for each in (found if isinstance(found, list) else [found])]

    def text(self, name: str, default: str | None = None) -> str:
        """A parameter that is a word."""
        return str(self._value(name, default))

    def _value(self, name: str, default: Any) -> Any:
        if name in self.values:
            return self.values[name]
        if default is None:
            raise KeyError(name)
        return default
