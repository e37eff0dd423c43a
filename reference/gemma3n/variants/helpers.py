"""Wrong computations that take more than an expression; the edits of variants call them."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.models.gemma3n.modeling_gemma3n import apply_rotary_pos_emb

from parity.errors import UsageError
from parity.weights.names import bare
from parity.weights.stored import stored

Tensor = torch.Tensor


def wider(config: Any, more: int) -> Any:
    """The configuration with a sliding window of `more` further positions."""
    changed = copy.copy(config)
    changed.sliding_window += more
    return changed


def with_diagonal_hidden(mask: Tensor) -> Tensor:
    """An additive mask ``[batch, 1, token, key]`` in which no token sees itself, but the first of the chunk."""
    hidden = torch.eye(mask.shape[-2], dtype=torch.bool, device=mask.device).flip(0, 1)
    hidden = nn.functional.pad(hidden, (mask.shape[-1] - mask.shape[-2], 0))
    hidden[0] = False
    return mask.masked_fill(hidden, torch.finfo(mask.dtype).min)


def with_block_seen(mask: Tensor, start: int, end: int) -> Tensor:
    """An additive mask in which the tokens from `start` to `end` see each other."""
    changed = mask.clone()
    changed[..., start:end, start:end] = 0
    return changed


def interleaved(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of neighbours instead of halves; `x` is ``[batch, token, head, head_dim]``."""
    half = x.shape[-1] // 2
    cos, sin = (angle[..., :half].repeat_interleave(2, -1).unsqueeze(2) for angle in (cos, sin))
    turned = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
    return x * cos + turned * sin


def partly_rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of the first half of each head's channels."""
    half = x.shape[-1] // 2
    turned = apply_rotary_pos_emb(x[..., :half], cos[..., :half], sin[..., :half], unsqueeze_dim=2)
    return torch.cat((turned, x[..., half:]), -1)


def ahead(attention: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding as many positions too far on as the chunk has tokens; `x` is ``[batch, token, head, dim]``."""
    base = attention.config.rope_parameters[attention.layer_type]["rope_theta"]
    channels = torch.arange(0, x.shape[-1], 2, dtype=torch.float64, device=x.device)
    angles = (x.shape[1] * base ** (-channels / x.shape[-1])).repeat(2).expand(1, 1, -1)
    further, across = (function(angles).to(x.dtype) for function in (torch.cos, torch.sin))
    turned = apply_rotary_pos_emb(x, cos, sin, unsqueeze_dim=2)
    return apply_rotary_pos_emb(turned, further, across, unsqueeze_dim=2)


def unshared(attention: Any, hidden: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of a shared layer's own projections, which checkpoints have and the reference does not load."""
    keys = _projected(attention, hidden, "k_proj", _left_out(attention, "k_norm").float().to(hidden.device))
    values = _projected(attention, hidden, "v_proj")
    return apply_rotary_pos_emb(keys, cos, sin, unsqueeze_dim=2).transpose(1, 2), values.transpose(1, 2)


def _projected(attention: Any, hidden: Tensor, name: str, gain: Tensor | float = 1.0) -> Tensor:
    """Heads of a projection, normed as `Gemma3nRMSNorm` does: ``[batch, token, head, head_dim]``."""
    heads = nn.functional.linear(hidden, _left_out(attention, name).to(hidden))
    normed = attention.q_norm._norm(heads.unflatten(-1, (-1, attention.head_dim)).float())
    return (normed * gain).to(hidden.dtype)


def _left_out(attention: Any, name: str) -> Tensor:
    """A weight of an attention module that is in the checkpoint alone."""
    return _tensor(attention.config.name_or_path, f"layers.{attention.layer_idx}.self_attn.{name}.weight")


@functools.cache
def _tensor(checkpoint: str, name: str) -> Tensor:
    if found := stored(Path(checkpoint), bare).get(name):
        return torch.from_numpy(found.read().astype(np.float32))
    raise UsageError(f"checkpoint {checkpoint} has no {name}, so a shared layer has no keys and values of its own")


def renormed(cached: tuple[Tensor, Tensor], norm: nn.Module, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Cached keys normed and rotated once more, in decode."""
    keys, values = cached
    if cos.shape[-2] > 1:
        return cached
    return apply_rotary_pos_emb(norm(keys), cos, sin), values


def turned(cached: tuple[Tensor, Tensor], new: Tensor) -> tuple[Tensor, Tensor]:
    """The cache in the order of a ring buffer, in decode; `new` are the chunk's keys ``[batch, head, token, dim]``."""
    return cached if new.shape[-2] > 1 else (cached[0].roll(1, -2), cached[1].roll(1, -2))


def stale(cached: tuple[Tensor, Tensor], new: Tensor) -> tuple[Tensor, Tensor]:
    """The cache whose last key is still that of the token before, in decode."""
    keys, values = cached
    return cached if new.shape[-2] > 1 else (torch.cat((keys[..., :-1, :], keys[..., -2:-1, :]), -2), values)


def restarted(ids: Tensor, cache: Any) -> Tensor:
    """Ids whose first are those of the conversation's first chunk; ``[batch, token]``, the cache remembers them."""
    if cache is None or cache.get_seq_length() == 0:
        if cache is not None:
            cache.first_ids = ids
        return ids
    first = cache.first_ids[:, : ids.shape[1]]
    return torch.cat((first, ids[:, first.shape[1] :]), 1)


def rms_normed(x: Tensor, dims: tuple[int, ...], weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over other axes."""
    return x * torch.rsqrt(x.pow(2).mean(dims, keepdim=True) + eps) * weight


def quantised(x: Tensor, bits: int, group: int = 32) -> Tensor:
    """`x` rounded to so many bits, symmetric about zero, with a scale for each group of the last axis.

    In float64 in every arithmetic: a weight of few digits may lie half-way between two steps, and where it falls must
    not depend on the precision, or a diagnosis finds another bug than there is.
    """
    groups = x.double().unflatten(-1, (-1, min(group, x.shape[-1])))
    scale = groups.abs().amax(-1, keepdim=True).clamp(min=1e-12) / (2 ** (bits - 1) - 1)
    return ((groups / scale).round() * scale).flatten(-2).to(x.dtype)


def gelu_by_table(x: Tensor) -> Tensor:
    """The tanh-form GELU as ggml reads it: of `x` in float16, from a table in float16; beyond 10 it is `x` or zero."""
    read = gelu_table().to(x.device)[x.half().view(torch.int16).long() & 0xFFFF].to(x.dtype)
    return torch.where(x.abs() < 10, read, x.clamp(min=0))


@functools.cache
def gelu_table() -> Tensor:
    """The table of ggml: the GELU of each number of float16, in the order of their bits; float16.

    It is made in float32, operation by operation, of which compilers fuse the product and the sum in the brackets:
    rounded otherwise, one number in some thousands is a step of float16 away.
    """
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    with np.errstate(all="ignore"):  # some are infinite, or no number
        fused = (np.float64(np.float32(0.044715) * x) * x + 1).astype(np.float32)
        tanh = np.tanh((np.float32((2 / np.pi) ** 0.5) * x * fused).astype(np.float64)).astype(np.float32)
        return torch.from_numpy((np.float32(0.5) * x * (np.float32(1) + tanh)).astype(np.float16))


def middle(image: Tensor) -> Tensor:
    """The square in the middle of a picture ``[image, channel, row, column]``."""
    side = min(image.shape[-2:])
    top, left = ((size - side) // 2 for size in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


def squared(image: Tensor) -> Tensor:
    """A picture ``[image, channel, row, column]`` in the middle of a black square."""
    height, width = (max(image.shape[-2:]) - size for size in image.shape[-2:])
    return nn.functional.pad(image, (width // 2, width - width // 2, height // 2, height - height // 2))


def interpolated(waveform: Any, rate: int, target: int) -> Any:
    """A waveform ``[sample]`` at another rate, on the straight lines between its samples."""
    times = np.arange(int(len(waveform) * target / rate)) * (rate / target)
    return np.interp(times, np.arange(len(waveform)), waveform).astype(waveform.dtype)


@contextmanager
def reweighed(linear: nn.Module, change: Callable[[Tensor], Tensor] | None) -> Iterator[None]:
    """Run with other weights in one projection or convolution; with its own for None."""
    true: Any = linear.weight
    if change is not None:
        linear.weight = nn.Parameter(change(true.data))
    try:
        yield
    finally:
        linear.weight = true


def with_kernel(convolution: nn.Module, x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """A convolution of other kernels; on the same padding."""
    with reweighed(convolution, change):
        return convolution(x)


def drawn_like(table: Tensor) -> Tensor:
    """A table of numbers of the same size as another's, drawn alike in every arithmetic."""
    numbers = torch.randn(table.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (numbers * table.cpu().double().std()).to(table.dtype).to(table.device)


def frequencies(like: Tensor, base: float) -> Tensor:
    """Frequencies of the rotary embedding with another base, as many as there are."""
    return (base ** -(torch.arange(len(like), dtype=torch.float64) / len(like))).to(like.dtype).to(like.device)
