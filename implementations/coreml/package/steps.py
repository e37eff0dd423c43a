"""Which operation of a program holds which step."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from parity.errors import UsageError

PREFIX = "tap__"
ENDS = ("", "_cast_fp16")
"""What conversion puts behind the name of an operation that it moved to another number format."""


def operation(step: str) -> str:
    """What the operation is called that holds a step: a program's names have no dots."""
    return PREFIX + re.sub(r"[^A-Za-z0-9_]", "__", step)


def settled(steps: Sequence[str], spec: Any) -> list[tuple[str, str]]:
    """Each step with the output that holds it in a saved program, in the program's order.

    Raises:
        UsageError: for a step that the program lost.
    """
    (function,) = spec.mlProgram.functions.values()
    named = {operation(step) + end: step for step in steps for end in ENDS}
    found = [(named[name], name) for name in outputs(function) if name in named]
    if lost := set(steps) - {step for step, _ in found}:
        raise UsageError(f"the converted program lost step {min(lost)}; coremltools merged it with another operation")
    return found


def outputs(function: Any) -> Iterator[str]:
    """Names of all that a function's operations give, in order."""
    for operation in function.block_specializations[function.opset].operations:
        yield from (output.name for output in operation.outputs)
