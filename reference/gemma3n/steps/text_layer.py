"""The steps of one decoder layer of Gemma 3n's language model, in execution order.

Axes: ``stream`` is an AltUp stream (stream `altup_active_idx` runs through the layer, the others are predicted),
``ple`` the width of a per-layer embedding, ``key`` the positions that the chunk's queries can see, in position order.
"""

from __future__ import annotations

from reference.common.steps import StepAt
from reference.gemma3n.steps.source import (
    ALTUP,
    GLU,
    GQA,
    KV_SHARING,
    LAUREL,
    PER_LAYER,
    QK_NORM,
    RMSNORM,
    ROPE,
    SPARSITY,
    assigned,
    owns_keys,
    passed,
    returned,
    scaled,
    sparse,
)

LAYER = "Gemma3nTextDecoderLayer.forward"
PREDICT, CORRECT = "Gemma3nTextAltUp.predict", "Gemma3nTextAltUp.correct"
ROUTER = "Gemma3nTextAltUp.compute_router_modalities"
LAUREL_BLOCK = "Gemma3nTextLaurelBlock.forward"
ATTENTION = "Gemma3nTextAttention.forward"
MLP, TOPK = "Gemma3nTextMLP.forward", "Gemma3nTextMLP._gaussian_topk"

HIDDEN = "batch token hidden"
STREAMS = "stream batch token hidden"
QUERIES, KEYS = "batch token head head_dim", "batch token kv_head head_dim"
CACHE = "batch kv_head key head_dim"
GATE = "batch token intermediate"
PLE = "batch token ple"


def _router(caller: str, of: str) -> tuple[StepAt, ...]:
    """The router runs twice a layer: on the active stream to predict, on the layer's output to correct."""
    scope = f"altup.{caller}"
    return (
        StepAt(f"{scope}.router_input", HIDDEN, f"router_norm({of}) / hidden_size", assigned(ROUTER, "router_inputs"),
               paper=ALTUP, caller=caller),
        StepAt(f"{scope}.routed", "batch token stream", "modality_router of the normed input",
               assigned(ROUTER, "routed"), paper=ALTUP, caller=caller),
        StepAt(f"{scope}.modalities", "batch token stream", "tanh(routed): how much each modality weighs",
               returned(ROUTER), paper=ALTUP, caller=caller),
    )  # fmt: skip


ALTUP_PREDICT = (
    *_router("predict", "active stream"),
    StepAt("altup.predict.coefs", "batch token stream_from stream_to", "prediction_coefs(modalities) as a 4 x 4 matrix",
           assigned(PREDICT, "all_coefs"), paper=ALTUP),
    StepAt("altup.predict.mixed", STREAMS, "each stream as a mix of all streams: streams @ coefs",
           assigned(PREDICT, "predictions", 1), paper=ALTUP),
    StepAt("altup.predict.out", STREAMS, "predicted streams: mixed + streams", assigned(PREDICT, "predictions", 2),
           paper=ALTUP),
)  # fmt: skip

LAUREL_STEPS = (
    StepAt("input_layernorm", HIDDEN, "RMSNorm of the active prediction: input of attention and Laurel",
           assigned(LAYER, "active_prediction_normed"), paper=RMSNORM),
    StepAt("laurel.left", "batch token rank", "down-projection to laurel_rank",
           assigned(LAUREL_BLOCK, "laurel_hidden_states", 0), paper=LAUREL),
    StepAt("laurel.right", HIDDEN, "up-projection from laurel_rank",
           assigned(LAUREL_BLOCK, "laurel_hidden_states", 1), paper=LAUREL),
    StepAt("laurel.normed", HIDDEN, "post_laurel_norm of the low-rank branch",
           assigned(LAUREL_BLOCK, "normed_laurel_hidden_states"), paper=LAUREL),
    StepAt("laurel.out", HIDDEN, "learned augmented residual: input + normed low-rank branch",
           returned(LAUREL_BLOCK), paper=LAUREL),
)  # fmt: skip

ATTENTION_STEPS = (
    StepAt("attn.q_proj", QUERIES, "query projection", assigned(ATTENTION, "query_states", 0), paper=GQA),
    StepAt("attn.q_norm", QUERIES, "RMSNorm of each query head", assigned(ATTENTION, "query_states", 1), paper=QK_NORM),
    StepAt("attn.q_rope", QUERIES, "queries after rotary position embedding", assigned(ATTENTION, "query_states", 2),
           paper=ROPE),
    StepAt("attn.k_proj", KEYS, "key projection", assigned(ATTENTION, "key_states", 1), paper=GQA, only=owns_keys),
    StepAt("attn.k_norm", KEYS, "RMSNorm of each key head", assigned(ATTENTION, "key_states", 2), paper=QK_NORM,
           only=owns_keys),
    StepAt("attn.k_rope", KEYS, "keys after rotary position embedding", assigned(ATTENTION, "key_states", 3),
           paper=ROPE, only=owns_keys),
    StepAt("attn.v_proj", KEYS, "value projection", assigned(ATTENTION, "value_states", 1), paper=GQA, only=owns_keys),
    StepAt("attn.v_norm", KEYS, "RMSNorm of each value head, without a gain", assigned(ATTENTION, "value_states", 2),
           only=owns_keys),
    StepAt("attn.keys", CACHE, "keys that the queries see: cached and new; a KV-shared layer sees its donor's",
           passed(ATTENTION, "attention_interface", 2), paper=KV_SHARING),
    StepAt("attn.values", CACHE, "values that the queries see: cached and new; a KV-shared layer sees its donor's",
           passed(ATTENTION, "attention_interface", 3), paper=KV_SHARING),
    StepAt("attn.context", QUERIES, "softmax(q k^T + mask) v; scores are not scaled, queries and keys are normed",
           assigned(ATTENTION, "attn_output", 0), paper=GQA),
    StepAt("attn.o_proj", HIDDEN, "output projection", assigned(ATTENTION, "attn_output", 2)),
    StepAt("post_attention_layernorm", HIDDEN, "RMSNorm of attention's output", assigned(LAYER, "attn", 1),
           paper=RMSNORM),
    StepAt("attn_gated", HIDDEN, "active prediction + normed attention", assigned(LAYER, "attn_gated")),
    StepAt("attn_laurel", HIDDEN, "(attn_gated + laurel.out) / sqrt(2)", assigned(LAYER, "attn_laurel"), paper=LAUREL),
)  # fmt: skip

MLP_STEPS = (
    StepAt("pre_feedforward_layernorm", HIDDEN, "RMSNorm before the feed-forward", assigned(LAYER, "attn_norm"),
           paper=RMSNORM),
    StepAt("mlp.gate_proj", GATE, "gate projection", assigned(MLP, "gate_proj", 0), paper=GLU),
    StepAt("mlp.gate_mean", "batch token one", "mean of the gate over its channels", assigned(TOPK, "inputs_mean"),
           paper=SPARSITY, only=sparse),
    StepAt("mlp.gate_std", "batch token one", "population standard deviation of the gate", assigned(TOPK, "inputs_std"),
           paper=SPARSITY, only=sparse),
    StepAt("mlp.cutoff", "batch token one", "mean + std x normal quantile of the sparsity: the Gaussian top-k bound",
           assigned(TOPK, "cutoff_x"), paper=SPARSITY, only=sparse),
    StepAt("mlp.gate_sparse", GATE, "relu(gate - cutoff)", assigned(MLP, "gate_proj", 1), paper=SPARSITY, only=sparse),
    StepAt("mlp.activations", GATE, "tanh-form GELU of the gate", assigned(MLP, "activations"), paper=GLU),
    StepAt("mlp.up_proj", GATE, "up projection", assigned(MLP, "up_proj"), paper=GLU),
    StepAt("mlp.product", GATE, "activations x up projection", passed(MLP, "self.down_proj", 0), paper=GLU),
    StepAt("mlp.down_proj", HIDDEN, "down projection", assigned(MLP, "down_proj"), paper=GLU),
    StepAt("post_feedforward_layernorm", HIDDEN, "RMSNorm of the feed-forward's output",
           assigned(LAYER, "attn_ffw_norm"), paper=RMSNORM),
    StepAt("activated", HIDDEN, "attn_laurel + normed feed-forward: the layer's output before AltUp corrects",
           assigned(LAYER, "attn_ffw_laurel_gated")),
)  # fmt: skip

ALTUP_CORRECT = (
    *_router("correct", "activated"),
    StepAt("altup.correct.innovation", HIDDEN, "activated - active prediction: what the layer added",
           assigned(CORRECT, "innovation", 0), paper=ALTUP),
    StepAt("altup.correct.coefs", "batch token stream", "correction_coefs(modalities) + 1",
           assigned(CORRECT, "all_coefs", 1), paper=ALTUP),
    StepAt("altup.correct.out", STREAMS, "predictions + innovation x coefs", assigned(CORRECT, "corrected", 1),
           paper=ALTUP),
)  # fmt: skip

PER_LAYER_STEPS = (
    StepAt("altup.correct.scaled", HIDDEN, "active stream x correct_output_scale",
           assigned(LAYER, "first_prediction", 1), paper=ALTUP, only=scaled),
    StepAt("per_layer_input_gate", PLE, "gate from the active stream", assigned(LAYER, "first_prediction", 2),
           paper=PER_LAYER),
    StepAt("per_layer_activation", PLE, "tanh-form GELU of the gate", assigned(LAYER, "first_prediction", 3),
           paper=PER_LAYER),
    StepAt("per_layer_gated", PLE, "activation x this layer's per-layer input", assigned(LAYER, "first_prediction", 4),
           paper=PER_LAYER),
    StepAt("per_layer_projection", HIDDEN, "projection back to the hidden size",
           assigned(LAYER, "first_prediction", 5), paper=PER_LAYER),
    StepAt("post_per_layer_input_norm", HIDDEN, "RMSNorm of the projection", assigned(LAYER, "first_prediction", 6),
           paper=RMSNORM),
    StepAt("out", STREAMS, "the layer's streams: all but the first get the per-layer term added", returned(LAYER),
           paper=ALTUP),
)  # fmt: skip

LAYER_STEPS = (*ALTUP_PREDICT, *LAUREL_STEPS, *ATTENTION_STEPS, *MLP_STEPS, *ALTUP_CORRECT, *PER_LAYER_STEPS)
