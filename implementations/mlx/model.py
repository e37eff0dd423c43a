"""Gemma 3n: token ids to logits. Parameter names are the checkpoint's."""

from __future__ import annotations

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.embedding import Embedding
from mlx.nn.layers.linear import Linear

from implementations.gemma3n.config import Config, TextConfig
from implementations.mlx.altup import StreamProjections
from implementations.mlx.attention import Chunk
from implementations.mlx.cache import Conversation, seen, window_of
from implementations.mlx.embedder import MultimodalEmbedder
from implementations.mlx.layer import DecoderLayer
from implementations.mlx.layers import RMSNorm
from implementations.mlx.masks import positions, visible
from parity.tap import Tap


class LanguageModel(Module):
    """The decoder: embeddings to the final norm. The head is the embedding table."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.rms_norm_eps
        layers, ple, extra = config.num_hidden_layers, config.hidden_size_per_layer_input, config.altup_num_inputs - 1
        self.embed_tokens = Embedding(config.vocab_size, hidden)
        self.embed_tokens_per_layer = Embedding(config.vocab_size_per_layer_input, layers * ple)
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
        chunk = self._prepare(embedded.shape[1], conversation, tap)
        streams = self._to_streams(embedded, tap.into(self._embed.scope))
        for kind in self._kinds:
            table = tap(f"rope.{kind}.inv_freq", self._inverse_frequencies[kind])
            chunk.periods[kind] = 1.0 / table
        for layer, scope, inputs in zip(self.layers, self._scopes, per_layer, strict=True):
            streams = layer(streams, inputs, chunk, tap=tap.into(scope))
        merged = self._from_streams(streams, tap.into(self._unembed.scope))
        return tap("norm", self.norm(merged))

    def head(self, states: mx.array, *, tap: Tap) -> mx.array:
        """Logits ``[batch, token, vocabulary]``, soft-capped (arXiv 2408.00118)."""
        logits = tap("lm_head", self.embed_tokens.as_linear(states))
        cap = self._config.final_logit_softcapping
        return tap("logits", logits if cap is None else mx.tanh(logits / cap) * cap)

    def _by_layer(self, x: mx.array) -> mx.array:
        return mx.unflatten(x, -1, (-1, self._config.hidden_size_per_layer_input))

    def _project_per_layer(self, embedded: mx.array, token_term: mx.array, tap: Tap) -> list[mx.array]:
        """Per-layer inputs, one ``[batch, token, ple]`` for each layer."""
        scaled = self.per_layer_model_projection(embedded) * self._config.hidden_size**-0.5
        projected = tap("projection", self._by_layer(scaled))
        normed = tap("projection_norm", self.per_layer_projection_norm(projected))
        inputs = tap("out", (normed + token_term) * 2.0**-0.5)
        return list(mx.split(mx.flatten(inputs, 2), len(self.layers), axis=-1))

    def _prepare(self, tokens: int, conversation: Conversation, tap: Tap) -> Chunk:
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
        return Chunk(offsets=queries[:, 0], periods={}, masks=masks, caches=conversation.caches)

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
        self.embed_vision = MultimodalEmbedder(config.vision, config.text.hidden_size)
        self.embed_audio = MultimodalEmbedder(config.audio, config.text.hidden_size)
        self._vision, self._audio = config.vision.vocab_offset, config.audio.vocab_offset

    def __call__(self, token_ids: mx.array, conversation: Conversation, *, tap: Tap) -> mx.array:
        """Run on token ids ``[batch, token]``; returns normed states ``[batch, token, hidden]``."""
        text = tap.into("text")
        token_ids = text("input_ids", token_ids)
        embedded, token_term = self.language_model.embed(token_ids, text)
        is_audio = token_ids >= self._audio
        is_vision = (token_ids >= self._vision) & ~is_audio
        vision = tap("embed_vision.hard", self.embed_vision.hard(token_ids, is_vision))
        audio = tap("embed_audio.hard", self.embed_audio.hard(token_ids, is_audio))
        embedded = mx.where(is_vision[..., None], vision, embedded)
        embedded = text("inputs_embeds", mx.where(is_audio[..., None], audio, embedded))
        return self.language_model(embedded, token_term, conversation, tap=text)


class Gemma3n(Module):
    """The whole model. Text in, logits out."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.model = Body(config)
        self.config = config

    def __call__(
        self, token_ids: mx.array, conversation: Conversation, *, tap: Tap, last_only: bool = False
    ) -> mx.array:
        """Run the next chunk.

        Args:
            token_ids: ``[batch, token]``, int32.
            conversation: advanced by the chunk.
            tap: where steps go.
            last_only: whether only the last token's logits are wanted, as generation does.

        Returns:
            Logits ``[batch, token or 1, vocabulary]``, lazy.
        """
        states = self.model(token_ids, conversation, tap=tap)
        conversation.advance(token_ids.shape[1])
        states = states[:, -1:] if last_only else states
        return self.model.language_model.head(states, tap=tap.into("text"))
