"""Where torch computes: on the processor, or on a device that it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from parity.arithmetic import Arithmetic, Plain
from parity.errors import BackendUnavailable, UsageError

if TYPE_CHECKING:
    import torch

OPTION, CPU, MPS = "device", "cpu", "mps"
MEANING = "where torch computes: cpu, cuda or mps; float64 stays on the processor where the device has none"
NAMES = (CPU, "cuda", MPS)
LACKING = {MPS: ("float64",)}
"""Formats that a device has no numbers of."""


def require_device(name: str) -> None:
    """Refuse what is no device, before anything is started.

    Raises:
        UsageError: for a name that is not among `NAMES`.
    """
    if name not in NAMES:
        raise UsageError(f"there is no device={name}: the reference computes on {', '.join(NAMES)}")


def device_of(name: str, arithmetic: Arithmetic) -> torch.device:
    """The device of a name; the processor, where that one does not have the arithmetic.

    What other packages offer, as a Neural Engine's float16, is made of operations of the processor.

    Raises:
        BackendUnavailable: where torch has none on this machine.
    """
    import torch

    there: Mapping[str, Callable[[], bool]] = {"cuda": torch.cuda.is_available, MPS: torch.backends.mps.is_available}
    if name != CPU and not there[name]():
        raise BackendUnavailable(f"device={name}: torch {torch.__version__} has none on this machine; leave it out")
    has = isinstance(arithmetic, Plain) and arithmetic.storage not in LACKING.get(name, ())
    return torch.device(name if has else CPU)
