"""What was measured of a candidate against the original weights, over many prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

STANDS_OUT = 4.0
"""How many times as much as its family's median a step costs that is worth a look: as many as floors are allowed."""


@dataclass(frozen=True)
class StepCost:
    """One step.

    Attributes:
        step: its name.
        own: relative L2 from exact inputs, as reports tell errors, the root mean square over prompts: what the step
            itself costs.
        whole: the same in the free run, with all that went before.
        family: own costs of the median step of its family, which is the same step in other layers.
    """

    step: str
    own: float
    whole: float
    family: float

    @property
    def times(self) -> float:
        """How many times its family's median it costs."""
        return self.own / self.family if self.family else math.inf if self.own else 1.0

    @property
    def stands_out(self) -> bool:
        """Whether it costs much more than the same step in other layers, as one whose weights are wrong does."""
        return self.times > STANDS_OUT


@dataclass(frozen=True)
class Cost:
    """A candidate against the original weights.

    Attributes:
        candidate: name and options.
        dtype: its arithmetic.
        model: the checkpoint's name.
        prompts: how many.
        tokens: in all of them.
        kept: of these the ones whose greedy choice is the original's.
        divergence: Kullback-Leibler divergence of the candidate's next token from the original's, in nats: the mean.
        worst_divergence: the largest at any token.
        logits: relative L2 of the logits, the root mean square over prompts.
        steps: in the order of execution.
    """

    candidate: str
    dtype: str
    model: str
    prompts: int
    tokens: int
    kept: int
    divergence: float
    worst_divergence: float
    logits: float
    steps: tuple[StepCost, ...]

    @property
    def share_kept(self) -> float:
        """Of greedy choices."""
        return self.kept / self.tokens if self.tokens else math.nan

    @property
    def dearest(self) -> tuple[StepCost, ...]:
        """Steps by what they themselves cost, the most first."""
        return tuple(sorted(self.steps, key=lambda one: -one.own))

    @property
    def outstanding(self) -> tuple[StepCost, ...]:
        """Steps that cost much more than their family, the most first."""
        return tuple(one for one in self.dearest if one.stands_out)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "share_kept": self.share_kept, "outstanding": [one.step for one in self.outstanding]}


def step_costs(own: dict[str, Sequence[float]], whole: dict[str, Sequence[float]]) -> tuple[StepCost, ...]:
    """Costs of steps of the errors that each had, prompt by prompt, phase by phase."""
    means = {step: rms(errors) for step, errors in own.items()}
    members: dict[str, list[float]] = {}
    for step, error in means.items():
        members.setdefault(family_of(step), []).append(error)
    return tuple(
        StepCost(step, error, rms(whole.get(step, ())), median(members[family_of(step)]))
        for step, error in means.items()
    )


def family_of(step: str) -> str:
    """The name of a step without its numbers."""
    return ".".join("#" if part.isdigit() else part for part in step.split("."))


def rms(values: Sequence[float]) -> float:
    """Root mean square; 0 of none."""
    return math.sqrt(sum(value * value for value in values) / len(values)) if values else 0.0
