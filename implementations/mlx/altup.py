"""AltUp: alternating updates of several residual streams of which one is computed (arXiv 2301.13310).

`streams` below has the axes ``stream batch token hidden``. One stream, the active one, runs through the layer; before
it all streams are predicted from each other, behind it all are corrected by what the layer added to the active one.
"""

from __future__ import annotations

import mlx.core as mx
from mlx.nn.layers.base import Module

from implementations.gemma3n.config import TextConfig
from implementations.mlx.operations.layers import Linear, RMSNorm, mean
from parity.tap import Tap

MAGNITUDE_FLOOR = 1e-5
"""Smallest mean square of a projected stream."""


class AltUp(Module):
    """Prediction and correction of one layer.

    `altup_coef_clip` of the configuration bounds weights during training; at inference they are used as they are.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        streams, hidden = config.altup_num_inputs, config.hidden_size
        self.correct_output_scale = mx.zeros((hidden,))
        self.correction_coefs = Linear(streams, streams, bias=False)
        self.prediction_coefs = Linear(streams, streams**2, bias=False)
        self.modality_router = Linear(hidden, streams, bias=False)
        self.router_norm = RMSNorm(hidden, config.rms_norm_eps)
        self._streams, self._active = streams, config.altup_active_idx
        self._input_scale = mx.array(1 / hidden)  # float32: the reference multiplies before it rounds

    def predict(self, streams: mx.array, *, tap: Tap) -> mx.array:
        """All streams as the layer expects them: each plus a mix of all, weighed by what the active one holds."""
        modalities = self._route(streams[self._active], tap)
        raw = self.prediction_coefs(modalities)
        raw = mx.unflatten(raw, -1, (self._streams, self._streams))  # batch token to from
        coefs = tap("coefs", mx.swapaxes(raw, -1, -2))
        # One small product a token, contiguous in `hidden`: half the time of (hidden, from) @ (from, to).
        mixed = mx.swapaxes(coefs, -1, -2) @ streams.transpose(1, 2, 0, 3)
        mixed = tap("mixed", mixed.transpose(2, 0, 1, 3))
        return tap("out", mixed + streams)

    def correct(self, predictions: mx.array, active: mx.array, activated: mx.array, *, tap: Tap) -> mx.array:
        """All streams behind the layer.

        Args:
            predictions: what `predict` gave.
            active: the active stream of it, ``[batch, token, hidden]``.
            activated: the layer's output from `active`, same shape.
            tap: where steps go.
        """
        modalities = self._route(activated, tap)
        innovation = tap("innovation", activated - active)
        coefs = tap("coefs", self.correction_coefs(modalities) + 1.0)
        weights = mx.expand_dims(coefs.transpose(2, 0, 1), -1)
        return tap("out", predictions + innovation * weights)

    def _route(self, x: mx.array, tap: Tap) -> mx.array:
        """How much each modality weighs in ``[batch, token, hidden]``: ``[batch, token, stream]`` in (-1, 1)."""
        scaled = (self.router_norm(x) * self._input_scale).astype(x.dtype)
        routed = tap("routed", self.modality_router(tap("router_input", scaled)))
        return tap("modalities", mx.tanh(routed.astype(mx.float32)).astype(x.dtype))


class StreamProjections:
    """Names of the steps that make the streams from the embedding, or one vector from the streams."""

    def __init__(self, scope: str, count: int) -> None:
        self.scope = scope
        self._names = [(f"{i}.projection", f"{i}.magnitude", f"{i}.out") for i in range(1, count)]

    def __call__(self, target: mx.array, projections: list[mx.array], *, tap: Tap) -> list[mx.array]:
        """Each projection ``[batch, token, hidden]``, rescaled to the root mean square of `target`."""
        goal = tap("target_magnitude", _magnitude(target))
        return [self._rescale(x, goal, names, tap) for x, names in zip(projections, self._names, strict=True)]

    @staticmethod
    def _rescale(x: mx.array, goal: mx.array, names: tuple[str, str, str], tap: Tap) -> mx.array:
        x = tap(names[0], x)
        magnitude = tap(names[1], _magnitude(x, MAGNITUDE_FLOOR))
        # The ratio stays in float32: rounded to bfloat16 it would scale a whole row by the same error.
        return tap(names[2], (x * (goal.astype(mx.float32) / magnitude)).astype(x.dtype))


def _magnitude(x: mx.array, floor: float = 0.0) -> mx.array:
    """Root mean square over the last axis, kept: ``[batch, token, 1]``; squares in float32."""
    square = mean(mx.square(x.astype(mx.float32)))
    return mx.sqrt(mx.maximum(square, floor)).astype(x.dtype)
