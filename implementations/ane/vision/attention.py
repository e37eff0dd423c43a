"""Multi-query attention over a map's pixels (arXiv 1911.02150): many query heads, one head of keys and values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from implementations.ane.engine.layers import RMSNorm
from implementations.ane.vision.convolution import Convolution, sides
from implementations.gemma3n.mobilenet import EPS, Attention
from parity.tap import Tap


class MapProjection(nn.Module):
    """A 1 x 1 convolution; for keys and values of a large map, behind a strided depthwise convolution and a norm."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        if stride > 1:
            self.down_conv = Convolution(inputs, inputs, kernel=kernel, stride=stride, groups=inputs)
            self.norm = RMSNorm(inputs, EPS)
        self.proj = Convolution(inputs, outputs)
        self._strided = stride > 1

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[image, inputs, height, width]``; returns ``[image, outputs, ceil(height / stride), ...]``."""
        if self._strided:
            x = tap("norm.input", self.down_conv(x))
            x = tap("norm", self.norm(x))
        projected: Tensor = self.proj(x)
        return projected


class MultiQueryAttention(nn.Module):
    """Every pixel attends to every pixel of the map, or of a map at half its resolution."""

    def __init__(self, channels: int, block: Attention) -> None:
        super().__init__()
        self.query = MapProjection(channels, block.heads * block.dim)
        self.key = MapProjection(channels, block.dim, kernel=block.kernel, stride=block.stride)
        self.value = MapProjection(channels, block.dim, kernel=block.kernel, stride=block.stride)
        self.output = MapProjection(block.heads * block.dim, channels)
        self._heads, self._dim = block.heads, block.dim
        self._scale = block.dim**-0.5

    def forward(self, x: Tensor, *, tap: Tap) -> Tensor:
        """Run on ``[image, channel, height, width]``; same shape."""
        queries = tap("query", self.query(x, tap=tap.into("query")))
        keys = tap("key", self.key(x, tap=tap.into("key")))
        values = tap("value", self.value(x, tap=tap.into("value")))
        context = tap("context", self._attend(queries, keys, values))
        return tap("output", self.output(context, tap=tap.into("output")))

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """``softmax(q k^T / sqrt(dim)) v``, in the shape of the queries, ``[image, head * dim, height, width]``.

        Scores have the axes ``image, head, key, pixel``: so the queries' pixels stay last throughout, as the engine
        wants them, and of all the operands only the small keys are transposed. Queries are scaled, not scores, which
        could leave float16's range before.
        """
        height, width = sides(queries)
        heads = (queries * self._scale).reshape(-1, self._heads, self._dim, height * width)
        weights = torch.softmax(one_head(keys).transpose(2, 3) @ heads, dim=2)
        return (one_head(values) @ weights).reshape(-1, self._heads * self._dim, height, width)


def one_head(x: Tensor) -> Tensor:
    """``[image, dim, height, width]`` to ``[image, 1, dim, pixel]``, pixels row by row."""
    return x.flatten(2).unsqueeze(1)
