"""Weights that lie in their files until an operation uses them: a model never holds more than a few of them promoted.

The oracle's arithmetic takes 8 bytes a number, of which a published checkpoint has 5 to 8 billion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map_only

from parity.arithmetic import Arithmetic
from parity.dtypes import numpy_dtype
from parity.errors import UsageError
from parity.safetensors_header import FORMATS
from parity.weights.written import ALL, Rows, Stored, Written

KEPT = 160 * 2**20
"""Bytes of weights that stay promoted: all of the embedded checkpoint, whose 18.3 M take 140 MiB in float64; of a large
one the smallest, which are most of its tensors and the least of its bytes."""
BLOCK = 512 * 2**20
"""Bytes that are promoted at a time of a matrix that has more: only a head, which takes 4 GB in float64."""

PROCESSOR = torch.device("cpu")

_PROPERTIES = ("device", "dtype", "layout", "ndim", "requires_grad", "shape")
_SAID = {getattr(Tensor, name).__get__ for name in _PROPERTIES} | {
    Tensor.dim, Tensor.is_floating_point, Tensor.numel, Tensor.size,
}  # fmt: skip
"""What a tensor says of itself without its numbers. Anything else promotes it, and so is slow at worst."""


class Deferred(Tensor):
    """A parameter that lies in its checkpoint: it says the shape and dtype that it has promoted, and has no memory.

    Operations on it are of the promoted tensor, and know nothing of this one.
    """

    stored: Stored
    arithmetic: Arithmetic

    @staticmethod
    def of(stored: Stored, arithmetic: Arithmetic, device: torch.device = PROCESSOR) -> Deferred:
        """The parameter of a tensor, in the dtype that carries an arithmetic's values, on the device that is to."""
        dtype = getattr(torch, arithmetic.storage)
        form: dict[str, Any] = {"dtype": dtype, "device": device, "requires_grad": True}
        found: Deferred = Tensor._make_wrapper_subclass(Deferred, stored.shape, **form)
        found.stored, found.arithmetic = stored, arithmetic
        found._is_param = True  # what `torch.nn.Parameter` knows its own by
        return found

    @property
    def size_promoted(self) -> int:
        """Bytes that it takes as an operand."""
        return self.numel() * self.dtype.itemsize

    def promoted(self, rows: Rows = ALL) -> Tensor:
        """The numbers, or those of some rows, as the arithmetic holds them; left in the file where that has them so.

        That is no operation of the model's: whatever rounds or reorders these does not see it.
        """
        with _disable_current_modes():
            numbers = _as_torch(self.stored.read(rows)).to(self.device).to(self.dtype)
            rounded: Tensor = self.arithmetic.rounded(numbers)
        return rounded.requires_grad_()  # as parameters do: torch folds the axes of a batch where a matrix has it

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation on promoted numbers; of a table on the rows that it looks up."""
        if func in _SAID:
            return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        if func is functional.embedding and isinstance(args[1], Deferred):
            return _looked_up(*args[:2])
        if func is functional.linear and isinstance(args[1], Deferred) and args[1].size_promoted > BLOCK:
            return _projected(*args, **(kwargs or {}))
        given, named = tree_map_only(Deferred, Deferred.promoted, (tuple(args), dict(kwargs or {})))
        return func(*given, **named)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's own stub is of its placeholder
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The same for what torch calls below its functions."""
        given, named = tree_map_only(Deferred, Deferred.promoted, (tuple(args), dict(kwargs or {})))
        return func(*given, **named)


def _looked_up(ids: Tensor, table: Deferred) -> Tensor:
    """Rows of a table for ids of any shape; each row is promoted once."""
    with _disable_current_modes():
        rows, places = ids.unique(return_inverse=True)
    return functional.embedding(places, table.promoted(rows.cpu().numpy()))


def _projected(x: Tensor, weight: Deferred, bias: Tensor | None = None) -> Tensor:
    """A product with a matrix of many rows, some of them at a time."""
    step = BLOCK // (weight.shape[1] * weight.dtype.itemsize)
    blocks = [slice(first, first + step) for first in range(0, weight.shape[0], step)]
    parts = [functional.linear(x, weight.promoted(rows), None if bias is None else bias[rows]) for rows in blocks]
    return torch.cat(parts, -1)


def _as_torch(read: NDArray[Any]) -> Tensor:
    """The same numbers: torch takes no bfloat16 of NumPy's, but its bits."""
    if read.dtype.isbuiltin == 1:
        return torch.from_numpy(read)
    return torch.from_numpy(read.view(f"i{read.dtype.itemsize}")).view(getattr(torch, read.dtype.name))


class Places:
    """Where a library puts a checkpoint's tensors: it makes its model of ones that have their shapes and no memory.

    Args:
        tensors: the checkpoint's, by the names that the library calls them.
        arithmetic: the model's.
        device: where it computes.
    """

    def __init__(self, tensors: Mapping[str, Stored], arithmetic: Arithmetic, device: torch.device = PROCESSOR) -> None:
        self._arithmetic, self._device = arithmetic, device
        # No number equals NaN: transformers ties a head to the embedding where the two have the same numbers.
        number, dtype = float("nan"), getattr(torch, arithmetic.storage)
        self.held = {name: torch.tensor(number, dtype=dtype).expand(stored.shape) for name, stored in tensors.items()}
        self._stored = {held.data_ptr(): tensors[name] for name, held in self.held.items()}

    def fill(self, model: nn.Module) -> None:
        """Put the checkpoint's own in their places, a tied one in all of its.

        Raises:
            UsageError: for a parameter that the library made itself.
        """
        for name, parameter in model.named_parameters():
            if parameter.data_ptr() not in self._stored:
                raise UsageError(f"the checkpoint has no {name}; fetch it again")
        filled = dict(self._filled({held.data_ptr() for _, _, held in _owned(model)} & self._stored.keys()))
        for owner, name, held in list(_owned(model)):
            owner[name] = filled[held.data_ptr()] if held.data_ptr() in filled else held.to(self._device)

    def _filled(self, places: Iterable[int]) -> Iterator[tuple[int, nn.Parameter | Deferred]]:
        """What goes to each place: the smallest promoted once and for all, up to `KEPT` bytes of them."""
        left = KEPT
        for place in sorted(places, key=lambda place: math.prod(self._stored[place].shape)):
            stored = self._stored[place]
            deferred = Deferred.of(stored, self._arithmetic, self._device)
            left -= deferred.size_promoted
            if left >= 0 or _is_held(stored, self._arithmetic):
                yield place, nn.Parameter(deferred.promoted())
            else:
                yield place, deferred


def _owned(model: nn.Module) -> Iterator[tuple[dict[str, Any], str, Tensor]]:
    """Each parameter and buffer, with the table that its module has it in and its name there."""
    for module in model.modules():
        for owner in (module._parameters, module._buffers):
            yield from ((owner, name, held) for name, held in owner.items() if held is not None)


def _is_held(stored: Stored, arithmetic: Arithmetic) -> bool:
    """Whether a tensor lies in its file as an arithmetic holds it."""
    if not isinstance(stored, Written) or stored.shape != stored.stored or arithmetic.weights != arithmetic.storage:
        return False
    return FORMATS.get(stored.dtype) == numpy_dtype(arithmetic.storage)
