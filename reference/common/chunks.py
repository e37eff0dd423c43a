"""The chunks of a conversation, as the language models of transformers take them."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, PreTrainedConfig

from reference.common.deferred import PROCESSOR


class Chunks:
    """What goes on from chunk to chunk: how many tokens were read, and the cache.

    Args:
        config: the language model's; the cache knows the sliding layers from it.
        device: where the model computes.

    Attributes:
        padding: tokens that each row is left-padded by.
    """

    def __init__(self, config: PreTrainedConfig, device: torch.device = PROCESSOR) -> None:
        self._config, self._device = config, device
        self.begin((0,), cache=False)

    def begin(self, padding: tuple[int, ...], *, cache: bool) -> None:
        """Forget the last conversation."""
        self.padding, self._seen = padding, 0
        self._cache = DynamicCache(config=self._config) if cache else None

    def read(self, count: int) -> dict[str, Any]:
        """What a model is given of so many tokens more, besides their ids; the mask is 1 for all but padding."""
        self._seen += count
        index = torch.arange(self._seen, device=self._device).expand(len(self.padding), -1)
        positions = index - torch.tensor(self.padding, device=self._device)[:, None]
        return {
            "attention_mask": (positions >= 0).long(),
            "position_ids": positions[:, -count:],
            "past_key_values": self._cache,
            "use_cache": self._cache is not None,
        }
