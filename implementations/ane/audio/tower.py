"""The audio tower: subsampling convolutions, conformer blocks, reduction. Parameter names are the checkpoint's."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from torch import Tensor, nn

from implementations.ane.audio.conformer import Block
from implementations.ane.audio.host import Tables
from implementations.ane.audio.subsample import Subsample
from implementations.gemma3n.config import AudioConfig
from parity.tap import SILENT, Tap


class AudioTower(nn.Module):
    """Universal Speech Model's encoder (arXiv 2303.01037) with local attention.

    Its shapes follow from the number of clips and of their mel frames, which are fixed when it is compiled; what
    depends on how long each clip is comes as masks.
    """

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.subsample_conv_projection = Subsample(config)
        self.conformer = nn.ModuleList(Block(config) for _ in range(config.conf_num_hidden_layers))
        self._scopes = [f"conformer.{layer}" for layer in range(config.conf_num_hidden_layers)]
        self._reduction = config.conf_reduction_factor

    def forward(self, mel: Tensor, *tensors: Tensor, tap: Tap = SILENT) -> Tensor:
        """Encode clips padded to one length.

        Args:
            mel: log-mel features ``[clip, 1, frame, mel]``.
            tensors: `Tables` of these clips, in order.
            tap: of the scope ``audio``.

        Returns:
            Features ``[clip, hidden, 1, frame']``, zero where padded.
        """
        tables = Tables(*tensors)
        running = tables.running_first, tables.running_second
        x = self.subsample_conv_projection(mel, running, tap=tap.into("subsample_conv_projection"))
        for block, scope in zip(self.conformer, self._scopes, strict=True):
            x = block(x, tables, tap=tap.into(scope))
        if self._reduction > 1:
            x = tap("reduced", x[..., :: self._reduction])
        return tap("out", x * tables.kept)


def within(config: AudioConfig, limit: float) -> AudioConfig:
    """The configuration for an arithmetic that ends at `limit`.

    The published bound of clipping, 1e10, is no number of float16; there is nothing beyond it to be clipped.
    """
    return replace(config, gradient_clipping=inf) if config.gradient_clipping > limit else config
