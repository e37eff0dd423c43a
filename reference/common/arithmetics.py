"""The arithmetics that the reference runs in: torch's own, the oracle's, and those that other packages offer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import nn
from torch.distributions import Normal

from parity.arithmetic import Arithmetic, Plain, find
from reference.common.deferred import Deferred
from reference.common.executions import Stochastic
from reference.common.float64 import Float64


class Native(Plain):
    """Torch's own arithmetic of one of its dtypes."""

    def by_chance(self, seed: int) -> AbstractContextManager[None]:
        """Operations compute in a wider format."""
        return Stochastic(seed)


TORCH: dict[str, Callable[[], Arithmetic]] = {
    "float64": Float64,
    **{name: functools.partial(Native, name) for name in ("float32", "bfloat16", "float16")},
}


def arithmetic(name: str) -> Arithmetic:
    """The arithmetic of that name.

    Raises:
        UsageError: when no installed package offers it.
    """
    return TORCH[name]() if name in TORCH else find(name)


def prepare(model: nn.Module, tables: Mapping[type[nn.Module], str], arithmetic: Arithmetic) -> None:
    """Round a loaded model's weights, and leave to the host what is its: tables are rounded where they enter.

    Args:
        model: the loaded model.
        tables: modules with a method that depends on positions alone, and its name. Every port makes such tables on the
            host, as it must: in fp16, the position 2049 itself has an error of a radian.
        arithmetic: what the model computes in.
    """
    arithmetic.meet(model.named_parameters())
    for module in model.modules():
        method = tables.get(type(module))
        if method is not None:
            setattr(module, method, _on_host(getattr(module, method), arithmetic))
            continue
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if not isinstance(tensor, Deferred):  # rounded when it is used
                tensor.data = arithmetic.rounded(tensor.data)


@contextmanager
def running(arithmetic: Arithmetic) -> Iterator[None]:
    """Run the reference in an arithmetic.

    It computes a constant of the configuration anew in each layer: the normal quantile of the sparsity, whose slope of
    10 would make a large error of fp16's rounding of 0.95. A port has it from the host.
    """
    quantile = Normal.icdf
    with arithmetic.running():
        Normal.icdf = _on_host(quantile, arithmetic)  # type: ignore[method-assign]
        try:
            yield
        finally:
            Normal.icdf = quantile  # type: ignore[method-assign]


def _on_host(function: Callable[..., Any], arithmetic: Arithmetic) -> Callable[..., Any]:
    @functools.wraps(function)
    def computed(*args: Any, **kwargs: Any) -> Any:
        with arithmetic.suspended():
            result = function(*args, **kwargs)
        several = isinstance(result, tuple)
        return tuple(map(arithmetic.rounded, result)) if several else arithmetic.rounded(result)

    return computed
