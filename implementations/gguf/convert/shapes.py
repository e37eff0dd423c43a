"""Names and shapes of a language model's tensors, as its configuration says them."""

from __future__ import annotations

from collections.abc import Iterator

from implementations.gemma3n.config import TextConfig

TABLES = ("embed_tokens.weight", "embed_tokens_per_layer.weight")
"""Those that have a row for each id in the file."""
STACKED = ("altup_projections", "altup_unembed_projections")
"""A matrix for each stream but the active one, which are one tensor in the file."""
Shape = tuple[int, ...]


def text_shapes(text: TextConfig) -> Iterator[tuple[str, Shape]]:
    """Name behind `LANGUAGE` and shape of each tensor of a language model, but for the head."""
    width, small, layers = text.hidden_size, text.hidden_size_per_layer_input, text.num_hidden_layers
    yield TABLES[0], (text.vocab_size, width)
    yield TABLES[1], (text.vocab_size_per_layer_input, layers * small)
    for name in STACKED:
        for stream in range(text.altup_num_inputs - 1):
            yield f"{name}.{stream}.weight", (width, width)
    yield "per_layer_model_projection.weight", (layers * small, width)
    yield "per_layer_projection_norm.weight", (small,)
    yield "norm.weight", (width,)
    for layer in range(layers):
        for name, shape in _layer_shapes(text, layer):
            yield f"layers.{layer}.{name}", shape


def _layer_shapes(text: TextConfig, layer: int) -> Iterator[tuple[str, Shape]]:
    width, small, streams = text.hidden_size, text.hidden_size_per_layer_input, text.altup_num_inputs
    yield from _attention_shapes(text)
    inner, rank = text.intermediate_size[layer], text.laurel_rank
    yield from {f"mlp.{name}_proj.weight": (inner, width) for name in ("gate", "up")}.items()
    yield "mlp.down_proj.weight", (width, inner)
    for place in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
        yield f"{place}_layernorm.weight", (width,)
    yield "laurel.linear_left.weight", (rank, width)
    yield "laurel.linear_right.weight", (width, rank)
    yield "laurel.post_laurel_norm.weight", (width,)
    yield "altup.correction_coefs.weight", (streams, streams)
    yield "altup.prediction_coefs.weight", (streams * streams, streams)
    yield "altup.modality_router.weight", (streams, width)
    yield "altup.router_norm.weight", (width,)
    yield "altup.correct_output_scale", (width,)
    yield "per_layer_input_gate.weight", (small, width)
    yield "per_layer_projection.weight", (width, small)
    yield "post_per_layer_input_norm.weight", (width,)


def _attention_shapes(text: TextConfig) -> Iterator[tuple[str, Shape]]:
    width, head = text.hidden_size, text.head_dim
    queries, keys = text.num_attention_heads * head, text.num_key_value_heads * head
    yield "self_attn.q_proj.weight", (queries, width)
    yield "self_attn.q_norm.weight", (head,)
    yield "self_attn.o_proj.weight", (width, queries)
    yield "self_attn.k_proj.weight", (keys, width)
    yield "self_attn.v_proj.weight", (keys, width)
    yield "self_attn.k_norm.weight", (head,)
