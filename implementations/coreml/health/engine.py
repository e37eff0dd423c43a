"""Operations that are known to leave the Neural Engine, from public sources.

Apple publishes no list: which processor runs an operation depends on chip, system and shapes. What a device does says
`MLComputePlan` there; this says what cannot be.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from implementations.coreml.package.program import Function, Operation

NO_LIST = "https://github.com/apple/coremltools/issues/1780"
"""Where an engineer of Apple says so."""
PLAN = "https://developer.apple.com/documentation/coreml/mlcomputeplan-1w21n"
"""What asks a device."""
TYPED = "https://apple.github.io/coremltools/docs-guides/source/typed-execution-example.html"
LAYERS = "https://github.com/hollance/neural-engine/blob/master/docs/unsupported-layers.md"
SURFACE = "https://ane-guide.readthedocs.io/en/latest/part-1-machine/04-capability-surface.html"
MEASURED = "https://github.com/roboflow/rf-detr/pull/1495"
WIDE = ("float32",)
"""Number formats that the engine does not compute in."""


@dataclass(frozen=True)
class Reason:
    """Why an operation leaves the engine.

    Attributes:
        why: in a few words.
        source: where that is said.
    """

    why: str
    source: str


FLOAT32 = Reason("a program in float32 runs on GPU and CPU; one in float16 may run on the engine", TYPED)
KINDS = {
    r"gather(_along_axis|_nd)?": Reason("reading at places that are computed is left to the CPU", LAYERS),
    r"scatter(_along_axis|_nd)?": Reason("writing at places that are computed has no path on any engine", SURFACE),
    r"gru|lstm|rnn": Reason("recurrent cells have no path on any engine", NO_LIST),
    r"topk": Reason("the choice of the largest was measured to run on the CPU", MEASURED),
    r"reduce_prod": Reason("products over an axis have no path on any engine", SURFACE),
    r"sin|cos": Reason("there is a path from the A15 on alone", SURFACE),
    r"custom_layer": Reason("a layer of one's own runs on CPU or GPU", LAYERS),
}
"""Kinds of operations, whole names as regular expressions."""


def reason(operation: Operation) -> Reason | None:
    """Why an operation is known to leave the engine; None where nothing is known."""
    if found := next((why for kind, why in KINDS.items() if re.fullmatch(kind, operation.kind)), None):
        return found
    return FLOAT32 if any(output.dtype in WIDE for output in operation.outputs) else None


def leaving(functions: list[Function]) -> Iterator[tuple[str, int, Reason]]:
    """The kinds of operations that leave the engine, how many of them, and why; the most first."""
    found = Counter(
        (operation.kind, why)
        for function in functions
        for operation in function.operations
        if (why := reason(operation)) is not None
    )
    for (kind, why), count in found.most_common():
        yield kind, count, why
