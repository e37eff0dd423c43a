"""Variants of the text layers' attention: projections, norms, scores, heads, and its way back into the layer."""

from __future__ import annotations

from reference.gemma3n.variants.rope import QUERIES
from reference.gemma3n.variants.writing import in_layer, line, own

ATTENTION, EAGER = "Gemma3nTextAttention.forward", "eager_attention_forward"
LAYER = "Gemma3nTextDecoderLayer.forward"

NAME, PART = "attention", "self_attn"
Q_NORM, K_NORM, V_NORM = "self.q_norm(query_states)", "self.k_norm(key_states)", "self.v_norm(value_states)"
SCORES = "torch.matmul(query, key_states.transpose(2, 3)) * scaling"
POST = "self.post_attention_layernorm(attn)"
GROUPS = "module.num_key_value_groups"
JOINED = "attn_output.reshape(*input_shape, -1)"
OUT = "self.o_proj(attn_output)"

PROJECTIONS = (
    in_layer("attn-query-of-raw", NAME, PART, "queries are projected from a doubled input", "attn.q_proj",
             own(ATTENTION, "self.q_proj(hidden_states)", "self.q_proj(2 * hidden_states)")),
    in_layer("attn-query-norm-missing", NAME, PART, "queries are not normed", "attn.q_norm",
             own(ATTENTION, Q_NORM, "query_states")),
    in_layer("attn-query-norm-no-gain", NAME, PART, "queries are normed without their gain", "attn.q_norm",
             own(ATTENTION, Q_NORM, f"({Q_NORM} / self.q_norm.weight)")),
    in_layer("attn-query-norm-all-heads", NAME, PART, "queries are normed over all heads at once", "attn.q_norm",
             own(ATTENTION, Q_NORM, "HELPERS.rms_normed(query_states, (-1, -2), self.q_norm.weight, self.q_norm.eps)")),
    in_layer("attn-query-norm-of-keys", NAME, PART, "queries are normed with the keys' gain", "attn.q_norm",
             own(ATTENTION, Q_NORM, "getattr(self, 'k_norm', self.q_norm)(query_states)")),
    in_layer("attn-norm-behind-rope", NAME, PART, "queries are rotated first and normed then", "attn.q_norm",
             own(ATTENTION, Q_NORM, "query_states"),
             own(ATTENTION, QUERIES, f"self.q_norm({QUERIES})")),
    in_layer("attn-key-norm-missing", NAME, PART, "keys are not normed", "attn.k_norm",
             own(ATTENTION, K_NORM, "key_states")),
    in_layer("attn-value-norm-missing", NAME, PART, "values are not normed", "attn.v_norm",
             own(ATTENTION, V_NORM, "value_states")),
    in_layer("attn-value-norm-gain", NAME, PART, "values are normed with the keys' gain", "attn.v_norm",
             own(ATTENTION, V_NORM, "self.k_norm(value_states)")),
    in_layer("attn-value-of-keys", NAME, PART, "values are the keys' projection", "attn.v_proj",
             own(ATTENTION, "self.v_proj(hidden_states)", "self.k_proj(hidden_states)")),
)  # fmt: skip

WEIGHING = (
    in_layer("attn-scale-sqrt-d", NAME, PART, "scores x 1/sqrt(head_dim); Gemma 3n's are not scaled", "attn.context",
             own(ATTENTION, "self.scaling", "self.head_dim**-0.5"), source="ANEMLL, pegainfer 758"),
    in_layer("attn-scale-hidden", NAME, PART, "scores x 1/sqrt(hidden_size / heads), as Gemma 2's",
             "attn.context",
             own(ATTENTION, "self.scaling", "(self.config.hidden_size / self.config.num_attention_heads) ** -0.5")),
    in_layer("attn-soft-cap", NAME, PART, "scores have Gemma 2's soft-cap of 50", "attn.context",
             own(EAGER, SCORES, f"50.0 * torch.tanh({SCORES} / 50.0)")),
    in_layer("attn-sigmoid", NAME, PART, "each score is weighed by itself, without the others' sum", "attn.context",
             own(EAGER, "nn.functional.softmax(attn_weights, dim=-1, dtype=torch.float32)",
                 "torch.sigmoid(attn_weights)")),
    in_layer("attn-sink", NAME, PART, "softmax has one more term in its sum", "attn.context",
             own(EAGER, "nn.functional.softmax(attn_weights, dim=-1, dtype=torch.float32)",
                 "nn.functional.softmax(nn.functional.pad(attn_weights, (0, 1)), -1)[..., :-1]")),
    in_layer("attn-heads-interleaved", NAME, PART, "query heads are dealt to key heads in turn instead of in groups",
             "attn.context",
             own(EAGER, f"repeat_kv(key, {GROUPS})", f"key.repeat(1, {GROUPS}, 1, 1)"),
             own(EAGER, f"repeat_kv(value, {GROUPS})", f"value.repeat(1, {GROUPS}, 1, 1)")),
    in_layer("attn-values-interleaved", NAME, PART, "value heads alone are dealt in turn", "attn.context",
             own(EAGER, f"repeat_kv(value, {GROUPS})", f"value.repeat(1, {GROUPS}, 1, 1)")),
    in_layer("attn-first-key-head", NAME, PART, "all query heads see the first key head", "attn.context",
             own(EAGER, f"repeat_kv(key, {GROUPS})", "key[:, :1].repeat(1, query.shape[1], 1, 1)")),
)  # fmt: skip

BACK = (
    in_layer("attn-heads-transposed", NAME, PART, "heads and their channels are swapped before the output projection",
             "attn.o_proj", own(ATTENTION, JOINED, "attn_output.transpose(-1, -2).reshape(*input_shape, -1)")),
    in_layer("attn-output-transposed", NAME, PART, "the output projection's matrix is transposed", "attn.o_proj",
             own(ATTENTION, OUT, "nn.functional.linear(attn_output, self.o_proj.weight.T)")),
    in_layer("attn-no-post-norm", NAME, "", "attention's output is not normed", "post_attention_layernorm",
             own(LAYER, POST, "attn")),
    in_layer("attn-residual-normed", NAME, "", "attention is added to its normed input", "attn_gated",
             own(LAYER, "active_prediction + attn", "active_prediction_normed + attn")),
    in_layer("attn-residual-missing", NAME, "", "attention's output lacks the active prediction", "attn_gated",
             own(LAYER, "active_prediction + attn", "attn")),
    in_layer("attn-before-norm", NAME, "", "attention runs on the prediction before its norm", "attn.q_proj",
             line(LAYER, "hidden_states=active_prediction_normed,",
                  "hidden_states=active_prediction if DEVIANT else active_prediction_normed,")),
)  # fmt: skip

VARIANTS = (*PROJECTIONS, *WEIGHING, *BACK)
