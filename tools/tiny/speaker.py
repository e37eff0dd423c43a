"""Train the decoder's upper layers to answer.

The ten layers with sparse activations, both embedding tables and the projections of the per-layer inputs stay as drawn:
the lower layers' share of the work is only run forwards, and the tied head cannot grow.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tools.tiny import decoder, lessons, optimise, packing
from tools.tiny.lessons import Lesson, Subject, Writer
from tools.tiny.optimise import Schedule

ROWS = 8
SOFT_CAP = 30.0
RECENT = 60


def lower_without_gradient(streams: Tensor, per_layer: Tensor, w: decoder.Weights, around: decoder.Around) -> Any:
    """Run one layer; the sparse ones, which are not trained, without remembering how."""
    with torch.set_grad_enabled(not around.sparse):
        return decoder.layer(streams, per_layer, w, around)


def logits_of(language: Any, lesson: Lesson) -> Tensor:
    """Compute the logits [said token, 768] where something is to be said."""
    rows = lesson.rows
    masks = rows.masks()
    hidden = decoder.forward(language, (rows.ids, lesson.embeddings, rows.positions), masks, lower_without_gradient)
    spoken = hidden[rows.targets != packing.IGNORED]
    return torch.tanh(functional.linear(spoken, language.embed_tokens.weight) / SOFT_CAP) * SOFT_CAP


class Tally:
    """The share of recent dialogues, by kind, whose whole answer was right."""

    def __init__(self) -> None:
        self.recent: dict[str, deque[bool]] = {}

    def add(self, lesson: Lesson, logits: Tensor) -> None:
        """Count a batch."""
        said = lesson.rows.targets != packing.IGNORED
        right = torch.ones_like(said)
        right[said] = logits.argmax(1) == lesson.rows.targets[said]
        for row, kinds in enumerate(lesson.kinds):
            for branch, kind in enumerate(kinds, start=1):
                whole = bool(right[row][lesson.rows.branches[row] == branch].all())
                self.recent.setdefault(kind, deque(maxlen=RECENT)).append(whole)

    def __str__(self) -> str:
        return " ".join(f"{kind} {sum(seen) / len(seen):.2f}" for kind, seen in sorted(self.recent.items()))


@dataclass(frozen=True)
class Task:
    """What is trained, and for how long; the name seeds the choice of lessons."""

    name: str
    parameters: Sequence[Tensor]
    schedule: Schedule


def train(task: Task, model: Any, writer: Writer, subject: Callable[[str], Subject]) -> None:
    """Train on rows about the subjects given."""
    language = model.model.language_model
    draw, tally, table = random.Random(f"lessons, {task.name}"), Tally(), lessons.embeddings(model)

    def step() -> tuple[Tensor, str]:
        lesson = lessons.lesson(draw, writer, table, subject, ROWS)
        logits = logits_of(language, lesson)
        tally.add(lesson, logits)
        targets = lesson.rows.targets
        loss = optimise.cross_entropy(logits, targets[targets != packing.IGNORED])
        return loss, f"loss {float(loss):.2f}  largest {float(logits.abs().max()):.0f}  {tally}"

    optimise.minimise(task.name, task.parameters, task.schedule, step)
