"""Attention of a map's pixels with one head of keys and values (arXiv 1911.02150)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from implementations.gemma3n.mobilenet import EPS, Attention
from implementations.onnx.operations.layers import GroupedNorm
from implementations.onnx.vision.layers import CHANNELS, Convolution
from parity.tap import Tap


class Projection(nn.Module):
    """A matrix on the channels of each pixel."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = Convolution(inputs, outputs)

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[image, inputs, height, width]``; returns ``[image, outputs, height, width]``."""
        return self.proj(x)


class StridedProjection(Projection):
    """The same of fewer pixels, each gathered from those around it by a depthwise convolution and normed."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__(inputs, outputs)
        self.down_conv = Convolution(inputs, inputs, kernel, stride=stride, groups=inputs)
        self.norm = GroupedNorm(inputs, EPS, axis=CHANNELS)

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[image, inputs, height, width]``; returns ``[image, outputs, ceil(height / stride), ...]``."""
        gathered = tap("norm.input", self.down_conv(x))
        return super().forward(tap("norm", self.norm(gathered)), tap=tap)


class MultiQueryAttention(nn.Module):
    """Each pixel attends to all pixels, or, with a stride, to those of a coarser map."""

    def __init__(self, channels: int, block: Attention) -> None:
        super().__init__()
        self._heads, self._dim, self._scale = block.heads, block.dim, block.dim**-0.5
        self.query = Projection(channels, block.heads * block.dim)
        self.key = self._coarser(channels, block)
        self.value = self._coarser(channels, block)
        self.output = Projection(block.heads * block.dim, channels)

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[image, channel, height, width]``; same shape."""
        queries = tap("query", self.query(x, tap=tap.into("query")))
        keys = tap("key", self.key(x, tap=tap.into("key")))
        values = tap("value", self.value(x, tap=tap.into("value")))
        context = tap("context", self._attend(queries, keys.flatten(2), values.flatten(2)))
        return tap("output", self.output(context, tap=tap.into("output")))

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """``softmax(q k^T / sqrt(dim)) v``.

        All heads have the same keys, so the queries of all are rows of one matrix.

        Args:
            queries: ``[image, head * dim, height, width]``.
            keys: ``[image, dim, key]``.
            values: ``[image, dim, key]``.

        Returns:
            A map of the shape of `queries`.
        """
        by_head = queries.flatten(2).unflatten(1, (self._heads, self._dim))
        rows = by_head.transpose(2, 3).flatten(1, 2)  # image, head * pixel, dim
        weights = torch.softmax(rows * self._scale @ keys, dim=-1)
        mixed = (weights @ values.transpose(1, 2)).unflatten(1, (self._heads, -1))
        return mixed.transpose(2, 3).flatten(1, 2).unflatten(2, queries.shape[2:])

    @staticmethod
    def _coarser(channels: int, block: Attention) -> Projection:
        if block.stride == 1:
            return Projection(channels, block.dim)
        return StridedProjection(channels, block.dim, block.kernel, block.stride)
