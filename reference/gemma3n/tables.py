"""Tables of positions that Gemma 3n's modules make, which are the host's work in every port."""

from __future__ import annotations

from torch import nn
from transformers.models.gemma3n.modeling_gemma3n import Gemma3nAudioRelativePositionEmbedding, Gemma3nRotaryEmbedding

TABLES: dict[type[nn.Module], str] = {
    Gemma3nRotaryEmbedding: "forward",
    Gemma3nAudioRelativePositionEmbedding: "_get_timing_signal_1d_pos",
}
"""Modules, and the method that makes their table; see `reference.common.arithmetics.prepare`."""
