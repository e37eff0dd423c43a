"""AltUp: alternating updates of several residual streams of which one is computed (arXiv 2301.13310).

`streams` below has the axes ``stream batch token hidden``. One stream, the active one, runs through the layer; before
it all streams are predicted from each other, behind it all are corrected by what the layer added to the active one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from implementations.gemma3n.config import TextConfig
from implementations.onnx.operations.layers import RMSNorm, linear, mean_square
from parity.tap import Tap

MAGNITUDE_FLOOR = 1e-5
"""Smallest mean square of a projected stream."""


class AltUp(nn.Module):
    """Prediction and correction of one layer.

    `altup_coef_clip` of the configuration bounds weights during training; at inference they are used as they are.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        streams, hidden = config.altup_num_inputs, config.hidden_size
        self.correct_output_scale = nn.Parameter(torch.zeros(hidden))
        self.correction_coefs = linear(streams, streams)
        self.prediction_coefs = linear(streams, streams**2)
        self.modality_router = linear(hidden, streams)
        self.router_norm = RMSNorm(hidden, config.rms_norm_eps)
        self._streams, self._active, self._input_scale = streams, config.altup_active_idx, 1 / hidden

    def predict(self, streams: Tensor, *, tap: Tap) -> Tensor:
        """All streams as the layer expects them: each plus a mix of all, weighed by what the active one holds."""
        modalities = self._route(streams[self._active], tap)
        raw = self.prediction_coefs(modalities).unflatten(-1, (self._streams, self._streams))  # batch token to from
        coefs = tap("coefs", raw.transpose(-1, -2))
        # One small product a token, contiguous in `hidden`.
        mixed = coefs.transpose(-1, -2) @ streams.permute(1, 2, 0, 3)
        mixed = tap("mixed", mixed.permute(2, 0, 1, 3))
        return tap("out", mixed + streams)

    def correct(self, predictions: Tensor, active: Tensor, activated: Tensor, *, tap: Tap) -> Tensor:
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
        return tap("out", predictions + innovation * coefs.permute(2, 0, 1).unsqueeze(-1))

    def _route(self, x: Tensor, tap: Tap) -> Tensor:
        """How much each modality weighs in ``[batch, token, hidden]``: ``[batch, token, stream]`` in (-1, 1)."""
        scaled = tap("router_input", self.router_norm(x) * self._input_scale)
        routed = tap("routed", self.modality_router(scaled))
        return tap("modalities", torch.tanh(routed))


class StreamProjections(nn.ModuleList):
    """Projections between the streams and one vector, each rescaled to a common magnitude."""

    def __init__(self, config: TextConfig) -> None:
        extra, hidden = config.altup_num_inputs - 1, config.hidden_size
        super().__init__(linear(hidden, hidden) for _ in range(extra))
        self._names = [(f"{i}.projection", f"{i}.magnitude", f"{i}.out") for i in range(1, extra + 1)]

    def forward(self, target: Tensor, sources: list[Tensor], *, tap: Tap) -> list[Tensor]:
        """Project each source, ``[batch, token, hidden]``, and rescale it to the root mean square of `target`."""
        goal = tap("target_magnitude", torch.sqrt(mean_square(target)))
        triples = zip(self, sources, self._names, strict=True)
        return [_rescaled(projection(x), goal, names, tap) for projection, x, names in triples]


def _rescaled(x: Tensor, goal: Tensor, names: tuple[str, str, str], tap: Tap) -> Tensor:
    x = tap(names[0], x)
    magnitude = tap(names[1], torch.sqrt(mean_square(x).clamp_min(MAGNITUDE_FLOOR)))
    return tap(names[2], x * goal / magnitude)
