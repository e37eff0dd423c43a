"""AltUp: alternating updates of several residual streams of which one is computed (arXiv 2301.13310).

`streams` below has the axes ``batch, stream, hidden, token``: four axes, which is what the engine takes, and one stream
of it is a view. One stream, the active one, runs through the layer; before it all streams are predicted from each
other, behind it all are corrected by what the layer added to the active one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from implementations.ane.engine.layers import Projection, RMSNorm, root_mean_square
from implementations.gemma3n.config import TextConfig
from parity.tap import Tap

MAGNITUDE_FLOOR = 1e-5**0.5
"""Smallest magnitude of a projected stream."""


class AltUp(nn.Module):
    """Prediction and correction of one layer.

    `altup_coef_clip` of the configuration bounds weights during training; at inference they are used as they are.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        streams, hidden = config.altup_num_inputs, config.hidden_size
        self.correct_output_scale = nn.Parameter(torch.zeros(hidden))
        self.correction_coefs = Projection(streams, streams)
        self.prediction_coefs = Projection(streams, streams**2)
        self.modality_router = Projection(hidden, streams)
        self.router_norm = RMSNorm(hidden, config.rms_norm_eps)
        self._streams, self._active = streams, config.altup_active_idx
        self._input_scale = 1 / hidden

    def predict(self, streams: Tensor, *, tap: Tap) -> Tensor:
        """All streams as the layer expects them: each plus a mix of all, weighed by what the active one holds.

        One small product a token: products accumulate in a wide register on the engine, sums do not.
        """
        modalities = self._route(stream(streams, self._active), tap)
        coefs = tap("coefs", self.prediction_coefs(modalities))  # channels: to x from
        rows, _, _, tokens = coefs.shape
        mixing = coefs.reshape(rows, self._streams, self._streams, tokens).permute(0, 3, 1, 2)
        mixed = tap("mixed", (mixing @ streams.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return tap("out", mixed + streams)

    def correct(self, predictions: Tensor, active: Tensor, activated: Tensor, *, tap: Tap) -> Tensor:
        """All streams behind the layer.

        Args:
            predictions: what `predict` gave.
            active: the active stream of it, ``[batch, hidden, 1, token]``.
            activated: the layer's output from `active`, same shape.
            tap: where steps go.
        """
        modalities = self._route(activated, tap)
        innovation = tap("innovation", activated - active)
        coefs = tap("coefs", self.correction_coefs(modalities) + 1.0)
        return tap("out", predictions + innovation.transpose(1, 2) * coefs)

    def _route(self, x: Tensor, tap: Tap) -> Tensor:
        """How much each modality weighs in ``[batch, hidden, 1, token]``: ``[batch, stream, 1, token]`` in (-1, 1)."""
        scaled = tap("router_input", self.router_norm(x) * self._input_scale)
        routed = tap("routed", self.modality_router(scaled))
        return tap("modalities", torch.tanh(routed))


class StreamProjections(nn.ModuleList):
    """Projections between the streams and one vector, each rescaled to a common magnitude."""

    def __init__(self, config: TextConfig, scope: str) -> None:
        extra, hidden = config.altup_num_inputs - 1, config.hidden_size
        super().__init__(Projection(hidden, hidden) for _ in range(extra))
        self.scope = scope
        self.floor = MAGNITUDE_FLOOR
        self._names = [(f"{i}.projection", f"{i}.magnitude", f"{i}.out") for i in range(1, extra + 1)]

    def forward(self, target: Tensor, sources: list[Tensor], *, tap: Tap) -> list[Tensor]:
        """Project each source, ``[batch, hidden, 1, token]``, and rescale it to the root mean square of `target`."""
        goal = tap("target_magnitude", root_mean_square(target))
        triples = zip(self, sources, self._names, strict=True)
        return [self._rescale(projection(x), goal, names, tap) for projection, x, names in triples]

    def _rescale(self, x: Tensor, goal: Tensor, names: tuple[str, str, str], tap: Tap) -> Tensor:
        x = tap(names[0], x)
        magnitude = tap(names[1], root_mean_square(x).clamp_min(self.floor))
        # Divided first: x times goal would overflow, and a ratio rounded to float16 scales a whole token by its error.
        return tap(names[2], x / magnitude * goal)


def stream(streams: Tensor, index: int) -> Tensor:
    """One stream of ``[batch, stream, hidden, token]`` as an activation, ``[batch, hidden, 1, token]``; a view."""
    return streams[:, index].unsqueeze(2)


def stacked(activations: list[Tensor]) -> Tensor:
    """Activations ``[batch, hidden, 1, token]`` as streams, ``[batch, stream, hidden, token]``."""
    return torch.cat([x.transpose(1, 2) for x in activations], dim=1)
