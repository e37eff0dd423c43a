"""Gemma 3n: token ids to logits. Parameter names are the checkpoint's."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from mlx.nn.layers.base import Module
from mlx.nn.layers.embedding import Embedding
from numpy.typing import NDArray

from implementations.gemma3n.config import Config, TextConfig
from implementations.gemma3n.preprocessing.inputs import Media, Sound
from implementations.mlx.altup import StreamProjections
from implementations.mlx.attention import Shared
from implementations.mlx.audio.tower import AudioTower
from implementations.mlx.cache import Conversation, seen, window_of
from implementations.mlx.embedder import MultimodalEmbedder, soft_tokens
from implementations.mlx.layer import DecoderLayer
from implementations.mlx.masks import positions, visible
from implementations.mlx.operations.layers import Linear, RMSNorm, Table
from implementations.mlx.vision.tower import VisionTower
from parity.tap import Tap


class LanguageModel(Module):
    """The decoder: embeddings to the final norm."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.rms_norm_eps
        layers, ple, extra = config.num_hidden_layers, config.hidden_size_per_layer_input, config.altup_num_inputs - 1
        self.embed_tokens = Embedding(config.vocab_size, hidden)
        self.embed_tokens_per_layer = Table(config.vocab_size_per_layer_input, layers * ple)
        self.per_layer_model_projection = Linear(hidden, layers * ple, bias=False)
        self.per_layer_projection_norm = RMSNorm(ple, eps)
        self.altup_projections = [Linear(hidden, hidden, bias=False) for _ in range(extra)]
        self.altup_unembed_projections = [Linear(hidden, hidden, bias=False) for _ in range(extra)]
        self.layers = [DecoderLayer(config, layer) for layer in range(layers)]
        self.norm = RMSNorm(hidden, eps)
        self._config = config
        self._kinds = sorted(set(config.layer_types))
        self._scopes = [f"layers.{layer}" for layer in range(layers)]
        self._embed = StreamProjections("altup.embed", config.altup_num_inputs)
        self._unembed = StreamProjections("altup.unembed", config.altup_num_inputs)
        # Underscored, so that the tables are no parameters: the checkpoint does not have them.
        self._inverse_frequencies = {
            kind: mx.array(config.ropes[kind].inverse_frequencies(config.head_dim)) for kind in self._kinds
        }

    def embed(self, token_ids: mx.array, tap: Tap) -> tuple[mx.array, mx.array]:
        """Embed token ids ``[batch, token]``.

        Factors are Python floats, which MLX rounds to the working dtype, as the reference does: in bfloat16
        sqrt(2048) is 45.25.

        Returns:
            Embeddings ``[batch, token, hidden]``, and the token term of the per-layer inputs
            ``[batch, token, layer, ple]``; ids outside the per-layer table use its row 0.
        """
        config = self._config
        embedded = tap("embed_tokens", self.embed_tokens(token_ids) * config.hidden_size**0.5)
        in_table = mx.where(token_ids < config.vocab_size_per_layer_input, token_ids, 0)
        rows = self.embed_tokens_per_layer(in_table) * config.hidden_size_per_layer_input**0.5
        return embedded, tap("per_layer_inputs.token", self._by_layer(rows))

    def __call__(self, embedded: mx.array, token_term: mx.array, conversation: Conversation, *, tap: Tap) -> mx.array:
        """Run the layers on embeddings ``[batch, token, hidden]``; returns normed states of the same shape."""
        per_layer = self._project_per_layer(embedded, token_term, tap.into("per_layer_inputs"))
        shared = self._prepare(embedded.shape[1], conversation, tap)
        streams = self._to_streams(embedded, tap.into(self._embed.scope))
        for kind in self._kinds:
            table = tap(f"rope.{kind}.inv_freq", self._inverse_frequencies[kind])
            shared.periods[kind] = 1.0 / table
        for layer, scope, inputs in zip(self.layers, self._scopes, per_layer, strict=True):
            streams = layer(streams, inputs, shared, tap=tap.into(scope))
        merged = self._from_streams(streams, tap.into(self._unembed.scope))
        return tap("norm", self.norm(merged))

    def _by_layer(self, x: mx.array) -> mx.array:
        return mx.unflatten(x, -1, (-1, self._config.hidden_size_per_layer_input))

    def _project_per_layer(self, embedded: mx.array, token_term: mx.array, tap: Tap) -> list[mx.array]:
        """Per-layer inputs, one ``[batch, token, ple]`` for each layer."""
        scaled = self.per_layer_model_projection(embedded) * self._config.hidden_size**-0.5
        projected = tap("projection", self._by_layer(scaled))
        normed = tap("projection_norm", self.per_layer_projection_norm(projected))
        inputs = tap("out", (normed + token_term) * 2.0**-0.5)
        return list(mx.split(mx.flatten(inputs, 2), len(self.layers), axis=-1))

    def _prepare(self, tokens: int, conversation: Conversation, tap: Tap) -> Shared:
        """Positions and masks. Positions that the tap answers feed both the masks and the rotary embedding."""
        start, padding = conversation.start, conversation.padding
        queries = tap("position_ids", positions(start, tokens, padding))
        masks = {}
        for kind in self._kinds:
            window = window_of(self._config, kind)
            past = seen(start, window)
            keys = positions(start - past, past + tokens, padding)
            mask = visible(queries, keys, window=window, padded=conversation.padded)
            masks[kind] = mx.expand_dims(tap(f"mask.{kind}", mask), 1)
        return Shared(offsets=queries[:, 0], periods={}, masks=masks, caches=conversation.caches)

    def _to_streams(self, embedded: mx.array, tap: Tap) -> mx.array:
        """The embedding and its rescaled projections, ``[stream, batch, token, hidden]``."""
        projections = [projection(embedded) for projection in self.altup_projections]
        return tap("out", mx.stack([embedded, *self._embed(embedded, projections, tap=tap)]))

    def _from_streams(self, streams: mx.array, tap: Tap) -> mx.array:
        """Mean of stream 0 and the rescaled projections of the others, ``[batch, token, hidden]``."""
        first, *others = (mx.squeeze(stream, 0) for stream in mx.split(streams, streams.shape[0]))
        pairs = zip(self.altup_unembed_projections, others, strict=True)
        rescaled = self._unembed(first, [projection(stream) for projection, stream in pairs], tap=tap)
        stacked = mx.stack([first, *rescaled])
        return tap("out", mx.mean(stacked.astype(mx.float32), axis=0).astype(streams.dtype))


class Body(Module):
    """The language model between the embedders of all modalities."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.language_model = LanguageModel(config.text)
        self._config = config
        if config.text_only:
            return
        self.embed_vision = MultimodalEmbedder(config.vision, config.text.hidden_size)
        self.embed_audio = MultimodalEmbedder(config.audio, config.text.hidden_size)
        self.vision_tower = VisionTower(config.vision)
        self.audio_tower = AudioTower(config.audio)
        self._vision, self._audio = config.vision.vocab_offset, config.audio.vocab_offset

    def __call__(self, token_ids: mx.array, media: Media, conversation: Conversation, *, tap: Tap) -> mx.array:
        """Run on token ids ``[batch, token]`` and their media; returns normed states ``[batch, token, hidden]``."""
        text = tap.into("text")
        token_ids = text("input_ids", token_ids)
        embedded, token_term = self.language_model.embed(token_ids, text)
        if not self._config.text_only:
            embedded = self._merge(self._hard(embedded, token_ids, tap), token_ids, media, tap)
        embedded = text("inputs_embeds", embedded)
        return self.language_model(embedded, token_term, conversation, tap=text)

    def _hard(self, embedded: mx.array, token_ids: mx.array, tap: Tap) -> mx.array:
        """Embeddings by the tables of vision and audio where the ids are theirs."""
        is_audio = token_ids >= self._audio
        is_vision = (token_ids >= self._vision) & ~is_audio
        vision = tap("embed_vision.hard", self.embed_vision.hard(token_ids, is_vision))
        audio = tap("embed_audio.hard", self.embed_audio.hard(token_ids, is_audio))
        embedded = mx.where(is_vision[..., None], vision, embedded)
        return mx.where(is_audio[..., None], audio, embedded)

    def _merge(self, embedded: mx.array, token_ids: mx.array, media: Media, tap: Tap) -> mx.array:
        """Soft tokens of the media in the places of their placeholders."""
        text = tap.into("text")
        if media.pixels is not None:
            places = token_ids == self._config.image_token_id
            embedded = text("merged.image", filled(embedded, places, self.see(media.pixels, embedded.dtype, tap)))
        if media.sound is not None:
            places = token_ids == self._config.audio_token_id
            embedded = text("merged.audio", filled(embedded, places, self.hear(media.sound, embedded.dtype, tap)))
        return embedded

    def see(self, pixels: NDArray[np.float32], dtype: mx.Dtype, tap: Tap) -> mx.array:
        """Soft tokens of images ``[image, channel, height, width]``: ``[image, token, hidden]``."""
        features = self.vision_tower(mx.array(pixels).astype(dtype), tap=tap.into("vision"))
        return self.embed_vision.soft(features, tap=tap.into("embed_vision"))

    def hear(self, sound: Sound, dtype: mx.Dtype, tap: Tap) -> mx.array:
        """Soft tokens of clips: ``[clip, token, hidden]``, of each as many as the prompt has places for."""
        scope, count = tap.into("embed_audio"), self._config.audio_soft_tokens_per_image
        mel, valid = mx.array(sound.mel).astype(dtype), mx.array(sound.mask)
        features, mask = self.audio_tower(mel, valid, tap=tap.into("audio"))
        soft = self.embed_audio.soft(features, tap=scope)
        return soft_tokens(soft, mask, self.embed_audio.last(), count, tap=scope)


def filled(embedded: mx.array, places: mx.array, soft: mx.array) -> mx.array:
    """Put soft tokens where they belong, one place after the other.

    Args:
        embedded: ``[batch, token, hidden]``.
        places: ``[batch, token]``, bool; as many as there are soft tokens.
        soft: ``[image or clip, token, hidden]``.
    """
    rows = mx.flatten(soft, 0, 1)
    order = mx.cumsum(mx.flatten(places).astype(mx.int32)).reshape(places.shape) - 1
    return mx.where(places[..., None], rows[mx.clip(order, 0, rows.shape[0] - 1)], embedded)


class Gemma3n(Module):
    """The whole model. Token ids and media in, logits out.

    Args:
        config: its configuration.
        own_head: whether the head has a table of its own; else it is the embedding's.
    """

    def __init__(self, config: Config, *, own_head: bool = False) -> None:
        super().__init__()
        self.model = Body(config)
        if own_head:
            self.lm_head = Linear(config.text.hidden_size, config.text.vocab_size, bias=False)
        self.config = config

    def __call__(
        self, token_ids: mx.array, media: Media, conversation: Conversation, *, tap: Tap, last_only: bool = False
    ) -> mx.array:
        """Run the next chunk.

        Args:
            token_ids: ``[batch, token]``, int32.
            media: what the placeholders among them stand for.
            conversation: advanced by the chunk.
            tap: where steps go.
            last_only: whether only the last token's logits are wanted, as generation does.

        Returns:
            Logits ``[batch, token or 1, vocabulary]``, lazy.
        """
        states = self.model(token_ids, media, conversation, tap=tap)
        conversation.advance(token_ids.shape[1])
        states = states[:, -1:] if last_only else states
        return self._head(states, tap=tap.into("text"))

    def _head(self, states: mx.array, *, tap: Tap) -> mx.array:
        """Logits ``[batch, token, vocabulary]``, soft-capped (arXiv 2408.00118)."""
        head = self.lm_head if "lm_head" in self else self.model.language_model.embed_tokens.as_linear
        logits = tap("lm_head", head(states))
        cap = self.config.text.final_logit_softcapping
        return tap("logits", logits if cap is None else mx.tanh(logits / cap) * cap)
