"""A conversation with the installed mlx-vlm: its caches, and the calls that its generation makes of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
from mlx_vlm.generate import ar
from mlx_vlm.models.cache import make_prompt_cache


class Conversation:
    """Caches of one conversation, and how a chunk is run.

    `batch_generate` has no public function for a batch with given padding: its private ones are called in its order.

    Without a cache the model is called as it is in training; with one, as `generate_step` and `batch_generate` call it.

    Args:
        model: the package's.
        padding: how many tokens each row is left-padded by.
        cache: whether there is a cache.
    """

    def __init__(self, model: Any, padding: tuple[int, ...], *, cache: bool) -> None:
        self._model, self._padding = model, padding
        self._started = False
        self.cache: list[Any] = self._caches() if cache else []

    def __call__(self, ids: mx.array, media: Mapping[str, mx.array]) -> mx.array:
        """Logits ``[batch, token, vocabulary]`` of the next chunk ``[batch, token]``; later, one token is decoded."""
        if not self.cache:
            logits: mx.array = self._model(ids, **media).logits
            return logits
        given = {} if self._started and ids.shape[1] == 1 else self._prompt(ids, media)
        self._started = True
        logits = self._model.language_model(ids, cache=self.cache, **given).logits
        return logits

    def _caches(self) -> list[Any]:
        language = self._model.language_model
        made: list[Any] = make_prompt_cache(language) if self._single else ar._make_cache(language, list(self._padding))
        return made

    @property
    def _single(self) -> bool:
        return len(self._padding) == 1

    def _prompt(self, ids: mx.array, media: Mapping[str, mx.array]) -> dict[str, mx.array]:
        """Embeddings of a prompt and what goes with them. Rows of several prompts lose their padding and get zeros."""
        found = self._model.get_input_embeddings(ids, mask=None, **media).to_dict()
        given = {name: value for name, value in found.items() if value is not None}
        if self._single or self._started:  # behind what was read there is no padding
            return given
        rows: Any = ar._split_prompt_kwargs_per_row(given, len(self._padding))
        real = mx.arange(ids.shape[1]) >= mx.array(self._padding)[:, None]
        unpadded, rows = ar._unpad_batch_prompts(ids, real.astype(mx.int32), rows)
        embedded, others = ar._merge_prefill_prompt_kwargs(rows, unpadded)
        return {"inputs_embeds": embedded, **others}
