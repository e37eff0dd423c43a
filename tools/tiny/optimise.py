"""The training loop that towers and decoder share."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# A step's loss, and what to print of it.
Step = Callable[[], tuple[Tensor, str]]
WARM_UP = 20
CLIP = 1.0
# Without it the logits would grow for as long as training goes on, towards the soft-cap.
SMOOTHING = 0.05


@dataclass(frozen=True)
class Schedule:
    """How many steps, and the highest rate of matrices. Scales, whose spread is meant, move at half of it."""

    steps: int
    rate: float

    def factor(self, step: int) -> float:
        """Return the share of the highest rate: a linear rise, a plateau and a linear fall."""
        done = step / self.steps
        return min(1.0, (step + 1) / WARM_UP) * min(1.0, 1.3 * (1 - done) + 0.02)


def minimise(name: str, parameters: Sequence[Tensor], schedule: Schedule, step: Step) -> None:
    """Train parameters by AdamW without decay, with clipped gradients; print progress."""
    groups = [
        {"params": [one for one in parameters if one.ndim > 1], "lr": schedule.rate},
        {"params": [one for one in parameters if one.ndim == 1], "lr": schedule.rate / 2},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.0)
    highest = [group["lr"] for group in optimiser.param_groups]
    start = time.monotonic()
    for index in range(schedule.steps):
        for group, rate in zip(optimiser.param_groups, highest, strict=True):
            group["lr"] = rate * schedule.factor(index)
        loss, said = step()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimiser.step()
        if index % 10 == 9:
            seconds = time.monotonic() - start
            print(f"{name} {index + 1}/{schedule.steps}  {seconds:.0f} s  {said}", file=sys.stderr, flush=True)


def cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the smoothed loss of [item, class]."""
    return functional.cross_entropy(logits, classes, label_smoothing=SMOOTHING)
