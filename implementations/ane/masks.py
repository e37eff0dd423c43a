"""Which keys a query sees (sliding windows: arXiv 2004.05150), and which slots that is. Runs on the host."""

from __future__ import annotations

import torch
from torch import Tensor

from implementations.ane.engine.limits import HIDDEN
from implementations.ane.shapes import Call, Shapes


def positions(start: int, count: int, padding: Tensor) -> Tensor:
    """Position of each token, counted from the first real one; padding has negative positions.

    A row of 5 tokens that begins with 2 of padding has the positions -2, -1, 0, 1, 2.

    Args:
        start: index of the first token in the conversation, padding included.
        count: tokens.
        padding: left-padding tokens of each row, ``[batch]``.

    Returns:
        ``[batch, token]``, int64.
    """
    return torch.arange(start, start + count) - padding[:, None]


def visible(queries: Tensor, keys: Tensor, *, window: int | None) -> Tensor:
    """Mask of attention: a query at i sees keys at j with ``i - window < j <= i`` that are real tokens.

    Args:
        queries: positions ``[batch, token]``.
        keys: positions ``[batch, key]``.
        window: positions that a query sees, its own included; None for all.

    Returns:
        ``[batch, token, key]``, bool, True = visible.
    """
    query, key = queries[:, :, None], keys[:, None, :]
    mask = (key <= query) & ((key >= 0) | (key == query))
    return mask if window is None else mask & (key > query - window)


def slot_mask(seen: Tensor, call: Call, kind: str, shapes: Shapes) -> Tensor:
    """A call's mask as it is added to scores.

    Args:
        seen: the chunk's mask, ``[batch, token, key]``; its last key is the chunk's last token.
        call: the tokens that are run.
        kind: layer type.
        shapes: the compiled shapes.

    Returns:
        ``[batch, 1, token, slot]``. Padding behind the real tokens sees all slots, so that it stays finite: written to
        no slot, its infinity would still be one in the products that write (0 x inf).
    """
    # The last key is the chunk's last token: where 5 tokens behind 7 see 9 keys, the first of these is 7 + 5 - 9 = 3.
    first = call.chunk + seen.shape[1] - seen.shape[2]
    begin = shapes.earliest(kind, call.begin)
    mask = torch.zeros(seen.shape[0], 1, call.size, shapes.slots(kind))
    mask[:, :, : call.count] = HIDDEN
    shown = seen[:, call.tokens, begin - first : call.end - first]
    mask[:, 0][:, : call.count, shapes.places(kind, begin, call.end)] = torch.where(shown, 0.0, HIDDEN)
    return mask


def slot_update(call: Call, kind: str, shapes: Shapes) -> Tensor:
    """1 where a token is written to a slot, ``[1, 1, slot, token]``; padding is written nowhere."""
    update = torch.zeros(1, 1, shapes.slots(kind), call.size)
    update[0, 0, shapes.places(kind, call.begin, call.end), : call.count] = torch.eye(call.count)
    return update
