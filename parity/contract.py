"""The contract: every step of a forward pass, in execution order.

A *step* is one named tensor. The contract is the model's documentation and the list that a candidate is held to:
a step that the candidate does not emit is uncovered, never passed over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from parity.axes import USUAL, Axes
from parity.errors import UsageError

StepKind = Literal["float", "integer", "mask"]


@dataclass(frozen=True)
class Step:
    """One named tensor of the forward pass.

    Attributes:
        name: dotted path, e.g. ``text.layers.3.laurel.out``.
        axes: the tensor's axes in order, e.g. ``("batch", "token", "hidden")``.
        kind: ``float`` is judged against the floor; ``integer`` and ``mask`` (True = visible) must be equal.
        meaning: what the tensor is, in one line.
        source: where the reference computes it, ``Class.function: variable``.
        paper: link to the paper that introduced the mechanism, or empty.
        needs: what a chunk must hold for the step to occur: ``prompt``, ``image`` or ``audio``; empty for nothing.
        arithmetic: what the step is computed in whatever the model's dtype, which gives its unit roundoff; empty for
            the candidate's own.
        quantum: distance of the levels that the step's values are rounded to, where one level more or less is right;
            0 for values that are not rounded to levels.
    """

    name: str
    axes: tuple[str, ...]
    kind: StepKind
    meaning: str
    source: str
    paper: str = ""
    needs: str = ""
    arithmetic: str = ""
    quantum: float = 0.0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Step:
        """A step of a contract's plain data.

        Raises:
            KeyError, TypeError: when a field is missing, unknown or of another type.
        """
        found = cls(**{**data, "axes": tuple(data["axes"])})
        _require_texts(found.name, *found.axes, found.meaning, found.source, found.paper, found.needs, found.arithmetic)
        if found.kind not in get_args(StepKind):
            raise TypeError(f"the kind {found.kind!r} is none of {', '.join(get_args(StepKind))}")
        if type(found.quantum) not in (int, float) or found.quantum < 0:
            raise TypeError(f"the quantum {found.quantum!r} is no distance")
        return found


def _require_texts(*values: Any) -> None:
    """Refuse what is no text.

    Raises:
        TypeError: saying what it is.
    """
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is no text")


@dataclass(frozen=True)
class Contract:
    """All steps of one model, in execution order.

    Attributes:
        model: the architecture's name.
        steps: in execution order.
        logits: name of the step that tokens are chosen from; empty where none are, as of a tower alone.
        axes: what the names of the steps' axes mean.

    Raises:
        UsageError: when two steps have the same name.
    """

    model: str
    steps: tuple[Step, ...]
    logits: str
    axes: Axes = USUAL

    def __post_init__(self) -> None:
        if len(self._by_name) != len(self.steps):
            names = [step.name for step in self.steps]
            doubled = sorted({name for name in names if names.count(name) > 1})
            raise UsageError(f"the contract of {self.model} names a step twice: {', '.join(doubled)}")

    @cached_property
    def _by_name(self) -> dict[str, Step]:
        return {step.name: step for step in self.steps}

    @cached_property
    def order(self) -> dict[str, int]:
        """Position of each step in execution order."""
        return {step.name: index for index, step in enumerate(self.steps)}

    @cached_property
    def digest(self) -> str:
        """Changes when any step's name, axes or kind changes; not when only its documentation does."""
        binding = [(self.model, step.name, step.axes, step.kind, step.needs) for step in self.steps]
        return hashlib.sha256(json.dumps(binding).encode()).hexdigest()[:16]

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def expected(self, holds: Collection[str]) -> tuple[Step, ...]:
        """The steps of a chunk that holds that (`parity.scenario.Chunk.holds`), in execution order."""
        return tuple(step for step in self.steps if not step.needs or step.needs in holds)

    def get(self, name: str) -> Step | None:
        """The step of that name, or None when the contract has none."""
        return self._by_name.get(name)

    def to_json(self) -> dict[str, Any]:
        """The contract as plain data, the form kept beside a trace."""
        head = {"model": self.model, "logits": self.logits, "axes": self.axes.to_json()}
        return {**head, "steps": [asdict(step) for step in self.steps]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contract:
        """Read what `to_json` wrote; where that does not say what axes are, their usual names do (`parity.axes`).

        Raises:
            UsageError: when another field is missing, one is of another type, or the logits are none of the steps.
        """
        try:
            steps = tuple(Step.from_json(step) for step in data["steps"])
            axes = Axes.from_json(data.get("axes", {}))
            _require_texts(data["model"], data["logits"])
            found = cls(model=data["model"], steps=steps, logits=data["logits"], axes=axes)
        except (AttributeError, KeyError, TypeError) as error:
            raise UsageError(f"the contract cannot be read ({error!r}); write the trace again") from error
        if found.logits and found.get(found.logits) is None:
            raise UsageError(
                f"the logits of the contract of {found.model}, {found.logits!r}, are none of its steps; name the step "
                "that tokens are chosen from"
            )
        return found
