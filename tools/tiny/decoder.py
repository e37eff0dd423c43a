"""The text decoder's forward pass, arranged for training: the reference's arithmetic at a third of its time.

The reference keeps AltUp's streams outermost and slices the per-layer inputs, which costs copies and, on the way back,
a zero tensor of all layers per layer. Here streams are [batch, token, stream, hidden], so that both AltUp steps are one
small matrix product each. `tests/reference/tiny/test_tiny_training.py` holds it to the reference.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tools.tiny.config import HEAD_DIM, HIDDEN, KV_HEADS

Weights = Mapping[str, Tensor]
HEADS = 4
# The 95th percentile of the normal distribution: the first ten layers keep the largest 5 % of their gates.
CUTOFF = 1.6448536269514722
KeyValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Around:
    """What a layer is told besides its input.

    Rotary cos and sin [batch, token, 1, channel], the additive mask [batch, 1, token, token], the keys and values that
    it shares, if any, and whether it keeps its largest gates alone.
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor
    shared: KeyValues | None
    sparse: bool


def norm(x: Tensor, weight: Tensor | None) -> Tensor:
    """Divide by the root mean square over the last axis."""
    normed = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
    return normed if weight is None else normed * weight


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of [batch, token, head, channel] by [batch, token, 1, channel]."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), -1) * sin


def router(x: Tensor, w: Weights) -> Tensor:
    """AltUp's modalities [batch, token, 4]."""
    normed = norm(x, w["altup.router_norm.weight"]) / HIDDEN
    return functional.linear(normed, w["altup.modality_router.weight"]).tanh()


def predict(streams: Tensor, w: Weights) -> Tensor:
    """AltUp's prediction of [batch, token, 4, hidden]."""
    coefs = functional.linear(router(streams[:, :, 0], w), w["altup.prediction_coefs.weight"])
    mixing = coefs.reshape(-1, 4, 4)
    flat = streams.reshape(-1, 4, HIDDEN)
    return torch.baddbmm(flat, mixing, flat).reshape(streams.shape)


def attention(x: Tensor, w: Weights, around: Around) -> tuple[Tensor, KeyValues]:
    """Return attention's output and its keys and values."""
    batch, length, _ = x.shape
    queries = functional.linear(x, w["self_attn.q_proj.weight"]).view(batch, length, HEADS, HEAD_DIM)
    queries = rotate(norm(queries, w["self_attn.q_norm.weight"]), around.cos, around.sin)
    keys, values = around.shared or keys_values(x, w, around)
    scores = torch.matmul(queries.transpose(1, 2), keys.transpose(2, 3)) + around.mask
    context = torch.matmul(scores.softmax(-1), values).transpose(1, 2).reshape(batch, length, HIDDEN)
    return functional.linear(context, w["self_attn.o_proj.weight"]), (keys, values)


def keys_values(x: Tensor, w: Weights, around: Around) -> KeyValues:
    """Return keys and values, each [batch, head, token, channel]: every key head serves several heads of queries."""
    projected = (functional.linear(x, w[f"self_attn.{name}_proj.weight"]) for name in "kv")
    keys, values = (y.view(*x.shape[:2], KV_HEADS, HEAD_DIM) for y in projected)
    keys = rotate(norm(keys, w["self_attn.k_norm.weight"]), around.cos, around.sin)
    repeated = (y.repeat_interleave(HEADS // KV_HEADS, 2).transpose(1, 2) for y in (keys, norm(values, None)))
    return next(repeated), next(repeated)


def feed_forward(x: Tensor, w: Weights, sparse: bool) -> Tensor:
    """The gated layer; a sparse one cuts its gates at a threshold."""
    gate = functional.linear(x, w["mlp.gate_proj.weight"])
    if sparse:
        deviation = gate.var(-1, correction=0, keepdim=True).clamp(min=1e-12).sqrt()
        gate = functional.relu(gate - gate.mean(-1, keepdim=True) - CUTOFF * deviation)
    hidden = functional.gelu(gate, approximate="tanh") * functional.linear(x, w["mlp.up_proj.weight"])
    return functional.linear(hidden, w["mlp.down_proj.weight"])


def layer(streams: Tensor, per_layer: Tensor, w: Weights, around: Around) -> tuple[Tensor, KeyValues]:
    """One decoder layer on [batch, token, 4, hidden]; return the streams, keys and values."""
    predictions = predict(streams, w)
    active = predictions[:, :, 0]
    normed = norm(active, w["input_layernorm.weight"])
    low = functional.linear(normed, w["laurel.linear_left.weight"])
    laurel = normed + norm(functional.linear(low, w["laurel.linear_right.weight"]), w["laurel.post_laurel_norm.weight"])
    attended, shared = attention(normed, w, around)
    gated = active + norm(attended, w["post_attention_layernorm.weight"])
    joined = (gated + laurel) / math.sqrt(2)
    forwarded = feed_forward(norm(joined, w["pre_feedforward_layernorm.weight"]), w, around.sparse)
    activated = joined + norm(forwarded, w["post_feedforward_layernorm.weight"])
    # Correction: every stream gets its share of the innovation; all but the first get the per-layer input's too.
    innovation = activated - active
    coefs = functional.linear(router(activated, w), w["altup.correction_coefs.weight"]) + 1
    first = (active + innovation * coefs[..., :1]) * w["altup.correct_output_scale"]
    first = functional.gelu(functional.linear(first, w["per_layer_input_gate.weight"]), approximate="tanh") * per_layer
    first = norm(functional.linear(first, w["per_layer_projection.weight"]), w["post_per_layer_input_norm.weight"])
    inputs = torch.stack((innovation, first), 2).reshape(-1, 2, HIDDEN)
    ones = torch.tensor([0.0, 1.0, 1.0, 1.0], dtype=streams.dtype).expand(coefs.shape)
    shares = torch.stack((coefs, ones), -1).reshape(-1, 4, 2)
    return torch.baddbmm(predictions.reshape(-1, 4, HIDDEN), shares, inputs).reshape(streams.shape), shared


def layer_weights(model: Any) -> list[dict[str, Tensor]]:
    """Return each layer's parameters by their names in the layer."""
    return [dict(one.named_parameters()) for one in model.layers]


def streams_of(model: Any, embeds: Tensor) -> Tensor:
    """Make AltUp's four streams of one: the others have the first's magnitude."""
    target = embeds.square().mean(-1, keepdim=True).sqrt()
    others = [functional.linear(embeds, projection.weight) for projection in model.altup_projections]
    scaled = [x * target / x.square().mean(-1, keepdim=True).clamp(min=1e-5).sqrt() for x in others]
    return torch.stack([embeds, *scaled], 2)


def join(model: Any, streams: Tensor) -> Tensor:
    """Make one stream of four, and apply the final norm."""
    first = streams[:, :, 0]
    target = first.square().mean(-1, keepdim=True).sqrt()
    others = [
        functional.linear(streams[:, :, 1 + index], projection.weight)
        for index, projection in enumerate(model.altup_unembed_projections)
    ]
    scaled = [x * target / x.square().mean(-1, keepdim=True).clamp(min=1e-5).sqrt() for x in others]
    return norm(torch.stack([first, *scaled]).mean(0), model.norm.weight)


def per_layer_inputs(model: Any, ids: Tensor, embeds: Tensor) -> tuple[Tensor, ...]:
    """Return each layer's own input [batch, token, 256], of ids (row 0 outside the text's range) and embeddings."""
    table = model.embed_tokens_per_layer
    known = torch.where(ids < model.config.vocab_size_per_layer_input, ids, 0)
    projected = functional.linear(embeds, model.per_layer_model_projection.weight) * model.config.hidden_size**-0.5
    projected = norm(projected.unflatten(-1, (len(model.layers), -1)), model.per_layer_projection_norm.weight)
    both = (projected + table(known).unflatten(-1, (len(model.layers), -1))) * 2**-0.5
    return both.unbind(2)


Layer = Callable[[Tensor, Tensor, Weights, Around], tuple[Tensor, KeyValues]]


def forward(model: Any, inputs: Sequence[Tensor], masks: Mapping[str, Tensor], one: Layer = layer) -> Tensor:
    """Run the decoder [batch, token, hidden].

    Args:
        model: the reference's language model.
        inputs: ids [batch, token], their embeddings [batch, token, hidden], and positions [batch, token].
        masks: additive, [batch, 1, token, token], by kind of attention.
        one: runs a layer.
    """
    ids, embeds, positions = inputs
    per_layer = per_layer_inputs(model, ids, embeds)
    streams = streams_of(model, embeds)
    rotary = {kind: model.rotary_emb(embeds, positions, kind) for kind in masks}
    donors: dict[str, KeyValues] = {}
    config = model.config
    for index, w in enumerate(layer_weights(model)):
        kind = config.layer_types[index]
        shared = donors.get(kind) if index >= config.num_hidden_layers - config.num_kv_shared_layers else None
        cos, sin = (x[:, :, None].float() for x in rotary[kind])
        around = Around(cos, sin, masks[kind], shared, config.activation_sparsity_pattern[index] > 0)
        streams, donors[kind] = one(streams, per_layer[index], w, around)
    return join(model, streams)
