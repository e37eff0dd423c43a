"""The audio encoder: mel features to soft tokens. Parameter names are the checkpoint's."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from implementations.gemma3n.config import AudioConfig
from implementations.onnx.audio.conformer import Block
from implementations.onnx.audio.embedder import AudioEmbedder
from implementations.onnx.audio.subsample import Subsample
from implementations.onnx.audio.timing import timing
from implementations.onnx.audio.windows import Heard, Windows
from parity.tap import SILENT, Tap


class AudioTower(nn.Module):
    """Subsampling, conformer blocks, and every fourth frame of what they give (reference: `Gemma3nAudioEncoder`)."""

    timing: Tensor

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.subsample_conv_projection = Subsample(config)
        self.conformer = nn.ModuleList(Block(config) for _ in range(config.conf_num_hidden_layers))
        self._windows = Windows(config)
        self.register_buffer("timing", torch.from_numpy(timing(config, config.hidden_size)), persistent=False)
        self._stride = math.prod(time for time, _ in config.sscp_conv_stride_size)
        self._reduction = config.conf_reduction_factor

    def forward(self, mel: Tensor, mask: Tensor, *, tap: Tap) -> tuple[Tensor, Tensor]:
        """Encode clips padded to one length.

        Args:
            mel: log-mel features ``[clip, frame, mel]``, float.
            mask: which frames are sound, ``[clip, frame]``, bool.
            tap: of the scope ``audio``.

        Returns:
            Features ``[clip, frame', hidden]``, zero where padded, and the mask of their frames ``[clip, frame']``.
        """
        mel, mask = tap("mel", mel), tap("mask", mask)
        x = self.subsample_conv_projection(mel, tap=tap.into("subsample_conv_projection"))
        # Convolutions of strides a and b make an output where frames 0, ab, 2ab ... stand, all of them in the clip.
        valid = tap("subsampled_mask", mask.index_select(1, torch.arange(x.shape[1]) * self._stride))
        heard = Heard(valid.unsqueeze(-1), self._windows.visible(valid), self.timing)
        for layer, block in enumerate(self.conformer):
            x = block(x, heard, tap=tap.into(f"conformer.{layer}"))
        if self._reduction > 1:
            x = tap("reduced", x[:, :: self._reduction])
            valid = tap("reduced_mask", valid[:, :: self._reduction])
        return tap("out", torch.where(valid.unsqueeze(-1), x, 0.0)), valid


class AudioEncoder(nn.Module):
    """The graph ``audio_encoder``: tower and embedder. With ``model.`` before them, names are the checkpoint's.

    Args:
        config: the tower's.
        hidden: width of the language model.
        count: soft tokens of a clip, `audio_soft_tokens_per_image` of the configuration.
    """

    def __init__(self, config: AudioConfig, hidden: int, count: int) -> None:
        super().__init__()
        self.audio_tower = AudioTower(config)
        self.embed_audio = AudioEmbedder(config, hidden, count)

    def forward(self, input_features: Tensor, input_features_mask: Tensor, *, tap: Tap = SILENT) -> Tensor:
        """Run on any number of clips, padded to one length.

        Args:
            input_features: log-mel features ``[clip, frame, mel]``, float32.
            input_features_mask: the processor's: true where a frame is sound, ``[clip, frame]``, bool.
            tap: of the model's scope.

        Returns:
            `audio_features` ``[clip, soft_token, hidden]``, float32: `count` soft tokens of each clip.
        """
        features, mask = self.audio_tower(input_features, input_features_mask, tap=tap.into("audio"))
        scope = tap.into("embed_audio")
        return self.embed_audio.filled(self.embed_audio(features, tap=scope), mask, tap=scope)
