"""What is done to a saved program: a value of its description is changed, left out or another's."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from coremltools.proto import Model_pb2
from google.protobuf.message import Message
from hypothesis import strategies as st

from tests.fuzz.spoiling import Draw, blindly, some

NUMBERS = (0, 1, -1, 2, 3, 5, 7, 25, 64, 100, 2**31 - 1, -(2**31), 2**32, 2**62, 2**63, 2**64 - 1)
WORDS = ("", "x", "main", "val", "hidden_states", "\n", "@model_path/weights/weight.bin", "../../weight.bin")


def of_program(draw: Draw, content: bytes) -> bytes:
    """Changes some values of a program that is described."""
    spec = Model_pb2.Model.FromString(content)
    places, names = [*_places(spec.mlProgram)], [each.name for each in _outputs(spec)]
    for _ in some(draw):
        message, field = places[draw(st.integers(0, len(places) - 1))]
        _change(draw, message, field, names)
    return spec.SerializeToString()


def _places(message: Message) -> Iterator[tuple[Message, Any]]:
    """Every field that is set, in the message and in those inside of it."""
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            inner = [each for each in value.values() if isinstance(each, Message)]
        else:
            inner = value if hasattr(value, "extend") else [value]
        for each in inner:
            yield from _places(each)


def _outputs(spec: Any) -> Iterator[Any]:
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            for operation in block.operations:
                yield from operation.outputs


def _change(draw: Draw, message: Message, field: Any, names: list[str]) -> None:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if keys := [*value]:
            del value[draw(st.sampled_from(keys))]
    elif hasattr(value, "extend"):
        _change_list(draw, value)
    elif field.message_type is not None or draw(st.integers(0, 5)) == 0:
        message.ClearField(field.name)
    else:
        _replace(draw, message, field, names)


def _change_list(draw: Draw, values: Any) -> None:
    if not values:
        return
    index = draw(st.integers(0, len(values) - 1))
    match draw(st.sampled_from(("gone", "gone", "all", "twice", "turned"))):
        case "gone":
            del values[index]
        case "all":
            del values[:]
        case "twice":
            values.extend([deepcopy(values[index])])
        case "turned":
            turned = [deepcopy(each) for each in values][::-1]
            del values[:]
            values.extend(turned)


def _replace(draw: Draw, message: Message, field: Any, names: list[str]) -> None:
    value = getattr(message, field.name)
    if isinstance(value, str):
        new = draw(st.sampled_from(names) | st.sampled_from(WORDS))
    elif isinstance(value, bytes):
        new = blindly(draw, value)
    elif isinstance(value, bool):
        new = not value
    elif isinstance(value, int):
        new = draw(st.sampled_from((*NUMBERS, value + 1, value - 1, value * 2)))
    else:
        new = draw(st.sampled_from((0.0, -1.0, 1e300, float("nan"))))
    try:
        setattr(message, field.name, new)
    except (OverflowError, ValueError):  # a number that the field has no bits for, or that is no member of an enum
        message.ClearField(field.name)
