"""Reading fields of a config.json: each error is one line that names the field, its value and the cure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

from parity.errors import UsageError

T = TypeVar("T")


def build(kind: type[T], data: Mapping[str, Any], where: str, **derived: Any) -> T:
    """A frozen dataclass from the fields of `data` that it knows; others are left to other readers of the file.

    Args:
        kind: the dataclass; its fields of type int, float, bool or str, or an optional of these, are read from `data`.
        data: one section of config.json.
        where: the section's name in errors.
        derived: fields that were computed and are not read.

    Raises:
        UsageError: for a missing field without a default, or one of another type.
    """
    types = get_type_hints(kind)
    values = dict(derived)
    for field in fields(kind):  # type: ignore[arg-type]  # bounded to dataclasses by its callers
        if field.name in values:
            continue
        if field.name in data:
            values[field.name] = _typed(types[field.name], data[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise UsageError(f"config.json: {where}.{field.name} is missing")
    return kind(**values)


def sequence(data: Mapping[str, Any], name: str, length: int, default: Any, where: str) -> tuple[Any, ...]:
    """A per-layer field: a list of `length`, or one value for all layers.

    Raises:
        UsageError: for a list of another length.
    """
    value = data.get(name)
    if value is None:
        value = default
    if not isinstance(value, list | tuple):
        return (value,) * length
    if len(value) != length:
        raise UsageError(f"config.json: {where}.{name} has {len(value)} entries for {length} layers")
    return tuple(value)


def section(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object called `name`.

    Raises:
        UsageError: when it is missing or no object.
    """
    value = data.get(name)
    if not isinstance(value, Mapping):
        raise UsageError(f"config.json: {name} is missing; is this the checkpoint of the full multimodal model?")
    return value


def numbers(values: tuple[Any, ...], kind: type[T], where: str) -> tuple[T, ...]:
    """The entries of a per-layer field as `kind`."""
    return tuple(_typed(kind, value, f"{where}[{index}]") for index, value in enumerate(values))


def _typed(kind: Any, value: Any, where: str) -> Any:
    allowed = getattr(kind, "__args__", (kind,))
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) in allowed:
        return value
    names = " or ".join("null" if option is type(None) else option.__name__ for option in allowed)
    raise UsageError(f"config.json: {where} is {value!r}, not {names}")
