"""Multi-query attention over a map's pixels (arXiv 1911.02150): many query heads, one head of keys and values."""

from __future__ import annotations

import mlx.core as mx
from mlx.nn.layers.base import Module

from implementations.gemma3n.mobilenet import EPS, Attention
from implementations.mlx.operations.layers import ON_CPU, RMSNorm
from implementations.mlx.vision.convolution import Convolution
from parity.tap import Tap


class MapProjection(Module):
    """A 1 x 1 convolution; for keys and values of a large map, behind a strided depthwise convolution and a norm."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        if stride > 1:
            self.down_conv = Convolution(inputs, inputs, kernel=kernel, stride=stride, groups=inputs)
            self.norm = RMSNorm(inputs, EPS)
        self.proj = Convolution(inputs, outputs)
        self._strided = stride > 1

    def __call__(self, x: mx.array, *, tap: Tap) -> mx.array:
        """Run on ``[image, height, width, inputs]``; returns ``[image, ceil(height / stride), ..., outputs]``."""
        if self._strided:
            x = tap("norm.input", self.down_conv(x))
            x = tap("norm", self.norm(x))
        return self.proj(x)


class MultiQueryAttention(Module):
    """Every pixel attends to every pixel of the map, or of a map at half its resolution."""

    def __init__(self, channels: int, block: Attention) -> None:
        super().__init__()
        self.query = MapProjection(channels, block.heads * block.dim)
        self.key = MapProjection(channels, block.dim, kernel=block.kernel, stride=block.stride)
        self.value = MapProjection(channels, block.dim, kernel=block.kernel, stride=block.stride)
        self.output = MapProjection(block.heads * block.dim, channels)
        self._dim = block.dim

    def __call__(self, x: mx.array, *, tap: Tap) -> mx.array:
        """Run on ``[image, height, width, channel]``; same shape."""
        queries = tap("query", self.query(x, tap=tap.into("query")))
        keys = tap("key", self.key(x, tap=tap.into("key")))
        values = tap("value", self.value(x, tap=tap.into("value")))
        context = self._attend(self._heads(queries), self._heads(keys), self._heads(values))
        merged = mx.flatten(mx.swapaxes(context, 1, 2), 2)
        context = tap("context", mx.unflatten(merged, 1, queries.shape[1:3]))
        return tap("output", self.output(context, tap=tap.into("output")))

    def _heads(self, x: mx.array) -> mx.array:
        """``[image, height, width, head * dim]`` to ``[image, head, pixel, dim]``, pixels row by row."""
        return mx.swapaxes(mx.unflatten(mx.flatten(x, 1, 2), -1, (-1, self._dim)), 1, 2)

    def _attend(self, queries: mx.array, keys: mx.array, values: mx.array) -> mx.array:
        """``softmax(q k^T / sqrt(dim)) v``, ``[image, head, pixel, dim]``.

        In 16 bits MLX's CPU path rounds the scores before the softmax and bypasses BLAS: there it gets float32.
        """
        dtype = queries.dtype
        if ON_CPU and dtype != mx.float32:
            queries, keys, values = (array.astype(mx.float32) for array in (queries, keys, values))
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=self._dim**-0.5).astype(dtype)
