"""One part to one program: traced by torch, converted by coremltools, with each step kept under a name of its own."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from implementations.coreml.convert.parts import Part
from implementations.coreml.package.settings import Settings
from implementations.coreml.package.tools import (
    Builder,
    Identity,
    MilBlock,
    MilProgram,
    coremltools,
    ops,
    register_torch_op,
    utils,
)
from parity.errors import UsageError
from parity.tap import ScopedTap

PASSED_OVER = (
    "common::noop_elimination",
    "common::remove_redundant_ops",
    "common::reduce_transposes",
    "common::fuse_conv_scale",
)
"""coremltools' passes that are left out.

Operations that hold steps do nothing, and some are of one tensor: the first two would take them away. The third moves
transpositions through them, so that a step's axes would be others. The last multiplies a weight by a constant behind
it, so that it would no longer be the checkpoint's."""
PRECISIONS = {"fp32": np.float32, "fp16": np.float16}

PREFIX = "tap__"
ENDS = ("", "_cast_fp16")
"""What conversion puts behind the name of an operation that it moved to another number format."""


@torch.library.custom_op("parity::tap", mutates_args=())
def _held(x: Tensor, name: str) -> Tensor:
    return x.clone()


@_held.register_fake
def _(x: Tensor, name: str) -> Tensor:
    return torch.empty_like(x)


@register_torch_op(torch_alias=["parity::tap"], override=True)  # type: ignore[untyped-decorator]
def _tap(context: Any, node: Any) -> None:
    """A step is an operation that hands its value on, called after it."""
    value, step = (context[name] for name in node.inputs)
    step = step if isinstance(step, str) else step.val
    context.add(Builder.identity(x=value, name=operation(step) if step else node.name), node.name)


@register_torch_op(override=True)  # type: ignore[untyped-decorator]
def addcmul(context: Any, node: Any) -> None:
    """A sum with a product, which coremltools has no translation of; the factor behind it is 1 in our models."""
    added, left, right = (context[name] for name in node.inputs[:3])
    product = Builder.mul(x=left, y=right)
    context.add(Builder.add(x=added, y=product, name=node.name), node.name)


@dataclass(frozen=True)
class Converted:
    """A part in one shape.

    Attributes:
        model: coremltools' model.
        steps: which output of an operation is which step, in the order in which they are computed.
    """

    model: Any
    steps: list[tuple[str, str]]


def convert(part: Part, tokens: int, settings: Settings) -> Converted:
    """Convert a part for calls of so many tokens, in a number format and for a system.

    Raises:
        UsageError: for what coremltools cannot convert, or a step that would be lost.
    """
    steps: list[str] = []
    part.tap, part.apart = ScopedTap(_heard(steps)), lambda x: torch.ops.parity.tap(x, "")
    sizes, number = part.sizes(tokens), PRECISIONS[settings.precision]
    examples = [torch.zeros(size) for size in sizes.values()]
    # After each pass coremltools looks for what comes of compressed weights, a third of its time; here is none yet.
    unsought = replaced(MilBlock, "_propagate_nonreplaceable_vars", lambda self: None)
    with settled_tools(), unsought, torch.no_grad():
        traced = torch.jit.trace(part.eval(), examples, check_trace=False)
        model = coremltools.convert(
            traced,
            inputs=[coremltools.TensorType(name=name, shape=size, dtype=number) for name, size in sizes.items()],
            outputs=[coremltools.TensorType(name=name, dtype=number) for name in part.outputs],
            states=[*_states(part)] or None,
            minimum_deployment_target=coremltools.target[settings.system],
            compute_precision=getattr(coremltools.precision, settings.precision.replace("fp", "FLOAT")),
            skip_model_load=True,
            pass_pipeline=_passes(),
        )
    return Converted(model, settled(steps, model.get_spec()))


def _states(part: Part) -> Iterator[Any]:
    for name in part.states:
        shape = tuple(part.get_buffer(name).shape)
        yield coremltools.StateType(wrapped_type=coremltools.TensorType(shape=shape, dtype=np.float16), name=name)


def _heard(steps: list[str]) -> Callable[[str, Tensor], Tensor]:
    def receive(step: str, value: Tensor) -> Tensor:
        steps.append(step)
        return torch.ops.parity.tap(value, step)

    return receive


def _passes() -> Any:
    found = coremltools.PassPipeline.DEFAULT
    found.remove_passes(PASSED_OVER)
    return found


@contextlib.contextmanager
def settled_tools() -> Iterator[None]:
    """Coremltools without its bars, torch without its words on constants of a trace: sizes are a program's constants.

    coremltools looks a whole program over behind each of its hundred passes, which takes two fifths of its time; what
    comes of them is looked at here in any case.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(replaced(ops, "_cast", _cast(ops._cast)))
        stack.enter_context(replaced(MilProgram, "validate", lambda *arguments, **settings: None))
        # What compresses a model, or puts functions together, would run the passes that are left out.
        anew = partial(utils._mil_convert, pass_pipeline=coremltools.PassPipeline.EMPTY)
        stack.enter_context(replaced(utils, "_mil_convert", anew))
        # Where a step is of a weight alone, it would be computed at once, and the operation be gone.
        stack.enter_context(replaced(Identity, "value_inference", lambda self: None))
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Inside it, a name of a module or class stands for something else."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _cast(right: Callable[..., None]) -> Callable[..., None]:
    """Coremltools' translation of a cast: it calls `int` of an array of one element, which NumPy 2.4 refuses."""

    def cast(context: Any, node: Any, dtype: Any, name: str) -> None:
        (value,) = ops._get_inputs(context, node, expected=1)
        if not value.can_be_folded_to_const():
            right(context, node, dtype, name)
            return
        number = dtype(np.asarray(value.val).reshape(-1)[0].item())
        context.add(Builder.const(val=number, name=node.name), node.name)

    return cast


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
