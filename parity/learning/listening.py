"""Behind taps that stand everywhere is a listener: it names each place while it is reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

DEPTH, ITEMS = 3, 64
"""Of tuples, lists and dictionaries: outputs of layers are nested less, and hold fewer tensors."""

Hear = Callable[[str, Any], Any]
"""Told a place and the tensor there; its result replaces the tensor."""


class Listener:
    """Names the values of one run.

    Args:
        paths: the model's modules by `id`, and the path of each.
        is_tensor: whether a value is a tensor.
        hear: told each tensor.
    """

    def __init__(self, paths: Mapping[int, str], is_tensor: Callable[[Any], bool], hear: Hear) -> None:
        self._paths, self._is_tensor, self._hear = paths, is_tensor, hear
        self._frames: list[tuple[str, Counter[str]]] = [("", Counter())]
        self._entered: Counter[str] = Counter()

    @contextmanager
    def frame(self, function: str, owner: Any) -> Iterator[None]:
        """A function runs, below the one that called it unless its ``self`` is a module of the model."""
        above = self._paths.get(id(owner), self._frames[-1][0]) if owner is not None else self._frames[-1][0]
        name = f"{above}/{function}"
        number = self._entered[name]
        self._entered[name] += 1
        self._frames.append((f"{name}@{number}" if number else name, Counter()))
        try:
            yield
        finally:
            self._frames.pop()

    def tap(self, site: str, value: Any) -> Any:
        """A value at a site of the running function; a further pass of a loop has its number behind ``~``."""
        frame, passes = self._frames[-1]
        number = passes[site]
        passes[site] += 1
        return self._visit(f"{frame}: {site}" + (f"~{number}" if number else ""), value, 0)

    def _visit(self, place: str, value: Any, depth: int) -> Any:
        if self._is_tensor(value):
            return self._hear(place, value)
        if depth == DEPTH or type(value) not in (tuple, list, dict) or len(value) > ITEMS:
            return value
        pairs = value.items() if type(value) is dict else enumerate(value)
        new = {key: self._visit(f"{place}[{key!r}]", item, depth + 1) for key, item in pairs}
        if all(new[key] is item for key, item in (value.items() if type(value) is dict else enumerate(value))):
            return value  # the very same, for others may hold it
        return new if type(value) is dict else type(value)(new.values())
