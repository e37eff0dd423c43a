"""Several dialogues in one row: those about one picture or sound share its soft tokens.

Each dialogue sees the shared beginning and itself, at the positions it has alone: a row computes exactly what its
dialogues compute one by one, and its media once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tools.tiny.config import PAD, SLIDING_WINDOW

IGNORED = -100

# Ids, positions, branches and targets.
Row = tuple[list[int], list[int], list[int], list[int]]


@dataclass(frozen=True)
class Dialogue:
    """Token ids of one dialogue, of which the last `answer` are to be said."""

    ids: tuple[int, ...]
    answer: int


@dataclass(frozen=True)
class Rows:
    """A batch [row, place]: ids, positions, the dialogue of each place (0 shared, -1 none), the id to say next."""

    ids: Tensor
    positions: Tensor
    branches: Tensor
    targets: Tensor

    def masks(self) -> dict[str, Tensor]:
        """Return the additive masks [row, 1, place, place] of both kinds of attention."""
        distance = self.positions[:, :, None] - self.positions[:, None, :]
        same = self.branches[:, :, None] == self.branches[:, None, :]
        visible = (distance >= 0) & (same | (self.branches[:, None, :] == 0))
        near = visible & (distance < SLIDING_WINDOW)
        kinds = {"full_attention": visible, "sliding_attention": near}
        return {kind: torch.where(seen, 0.0, -1e9)[:, None] for kind, seen in kinds.items()}


def row(dialogues: Sequence[Dialogue], shared: int) -> Row:
    """Lay out dialogues whose first `shared` ids are the same: ids, positions, branches and targets."""
    first = list(dialogues[0].ids[:shared])
    ids, positions, branches, targets = first, list(range(shared)), [0] * shared, [IGNORED] * shared
    for branch, dialogue in enumerate(dialogues, start=1):
        length, said = len(dialogue.ids), len(dialogue.ids) - dialogue.answer
        ids = [*ids, *dialogue.ids[shared:]]
        positions += range(shared, length)
        branches += [branch] * (length - shared)
        targets += [
            dialogue.ids[place + 1] if said <= place + 1 < length else IGNORED for place in range(shared, length)
        ]
    return ids, positions, branches, targets


def batch(rows: Sequence[Row], longest: int) -> Rows:
    """Pad rows at the end; what pads sees itself alone, and says nothing."""
    fill = (PAD, 0, -1, IGNORED)
    columns = [
        torch.tensor([part[index] + [fill[index]] * (longest - len(part[0])) for part in rows]) for index in range(4)
    ]
    return Rows(*columns)
