"""The oracle's arithmetic: the unmodified reference in true float64.

``model.to(float64)`` is not enough: the reference asks for float32 by name in norms, rotary tables, softmax and the
router, which leaves an error as large as the float32 floor itself (1.3e-5 at the logits of a small model).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from parity.arithmetic import Plain


class _Promotion(TorchFunctionMode):
    """Grants every request for float32 in float64."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        promoted = {name: _promoted(value) for name, value in (kwargs or {}).items()}
        return func(*map(_promoted, args), **promoted)


def _promoted(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


class Float64(Plain):
    """True float64: what is computed in float32 by name is computed in float64."""

    def __init__(self) -> None:
        super().__init__("float64")

    def loading(self) -> AbstractContextManager[None]:
        """Buffers that are made in float32 by name are exact too."""
        return float64()

    def running(self) -> AbstractContextManager[None]:
        """The host's work included."""
        return float64()


@contextmanager
def float64() -> Iterator[None]:
    """Run torch code with float64 in place of float32; load the model inside it too, so its buffers are exact."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Promotion():
            yield
    finally:
        torch.set_default_dtype(before)
