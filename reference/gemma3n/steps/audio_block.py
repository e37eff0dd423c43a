"""The steps of one conformer block of Gemma 3n's audio tower, in execution order.

Axes: ``frame`` is 40 ms; attention is local: frames stand in blocks of ``query`` frames, and each block sees the
``key`` frames of its context, which begins ``conf_attention_context_left - 1`` frames before it. ``distance`` is how
many frames a key lies before its query, from the farthest to the last one ahead.
"""

from __future__ import annotations

from reference.common.steps import StepAt
from reference.gemma3n.steps.source import RMSNORM, SOFTCAP, assigned, returned

USM = "https://arxiv.org/abs/2303.01037"
CONFORMER = "https://arxiv.org/abs/2005.08100"
TRANSFORMER_XL = "https://arxiv.org/abs/1901.02860"
SINUSOIDS = "https://arxiv.org/abs/1706.03762"
GATED = "https://arxiv.org/abs/1612.08083"
SWISH = "https://arxiv.org/abs/1710.05941"

FEED_FORWARD = "Gemma3nAudioConformerFeedForward.forward"
AROUND = "Gemma3nAudioConformerAttention.forward"
ATTENTION = "Gemma3nAudioAttention.forward"
POSITION = "Gemma3nAudioRelativePositionEmbedding.forward"
LIGHT = "Gemma3nAudioConformerLightConv1d.forward"
BLOCK = "Gemma3nAudioConformerBlock.forward"

FRAMES = "clip frame hidden"
HEADS = "clip frame head head_dim"
QUERIES, KEYS = "clip block query head head_dim", "clip block key head head_dim"
SCORES = "clip head block query key"
X = "audio_encodings"

FEED_FORWARD_STEPS = (
    StepAt("audio.{path}.pre_layer_norm", FRAMES, "RMSNorm of the input", assigned(FEED_FORWARD, X, 1), paper=RMSNORM),
    StepAt("audio.{path}.ffw_layer_1", "clip frame intermediate", "projection to four times the width",
           assigned(FEED_FORWARD, X, 2), paper=CONFORMER),
    StepAt("audio.{path}.activation", "clip frame intermediate", "x sigmoid(x)", assigned(FEED_FORWARD, X, 3),
           paper=SWISH),
    StepAt("audio.{path}.ffw_layer_2", FRAMES, "projection back", assigned(FEED_FORWARD, X, 4), paper=CONFORMER),
    StepAt("audio.{path}.post_layer_norm", FRAMES, "RMSNorm of the projection", assigned(FEED_FORWARD, X, 6),
           paper=RMSNORM),
    StepAt("audio.{path}.out", FRAMES, "input + conf_residual_weight x normed: half a feed-forward",
           returned(FEED_FORWARD), paper=CONFORMER),
)  # fmt: skip

PRE_ATTENTION = (
    StepAt("audio.{path}.pre_attn_norm", FRAMES, "RMSNorm of attention's input",
           assigned(AROUND, "audio_encodings_norm"), paper=RMSNORM),
)  # fmt: skip

PROJECTION_STEPS = (
    StepAt("audio.{path}.q_proj", HEADS, "query projection", assigned(ATTENTION, "query_states", 0)),
    StepAt("audio.{path}.k_proj", HEADS, "key projection", assigned(ATTENTION, "key_states")),
    StepAt("audio.{path}.v_proj", HEADS, "value projection", assigned(ATTENTION, "value_states")),
    StepAt("audio.{path}.per_dim_scale", "head_dim", "softplus of the learned scale of each channel",
           assigned(ATTENTION, "per_dim_scale_sp"), paper=USM),
    StepAt("audio.{path}.q_scaled", HEADS, "queries x head_dim^-0.5 / softplus(0) x per_dim_scale",
           assigned(ATTENTION, "query_states", 1), paper=USM),
    StepAt("audio.{path}.q_blocks", QUERIES, "queries in blocks, zeros behind the last frame",
           assigned(ATTENTION, "query_blocks"), paper=USM),
    StepAt("audio.{path}.k_blocks", KEYS, "keys of each block's context, zeros outside the clip",
           assigned(ATTENTION, "key_blocks"), paper=USM),
    StepAt("audio.{path}.v_blocks", KEYS, "values of each block's context, zeros outside the clip",
           assigned(ATTENTION, "value_blocks"), paper=USM),
    StepAt("audio.{path}.mask", "clip block query key",
           "which keys a query sees: sound, and from conf_attention_context_left - 1 frames before it up to "
           "conf_attention_context_right after", assigned(ATTENTION, "final_condition_for_where"), kind="mask",
           paper=USM),
)  # fmt: skip

POSITION_STEPS = (
    StepAt("audio.{path}.timing_signal", "one distance hidden",
           "sines, then cosines, of each distance at geometric frequencies from 1 to 1e-4 radians a frame",
           assigned(POSITION, "sin_emb_timing_signal"), paper=SINUSOIDS),
    StepAt("audio.{path}.pos_proj", "distance head head_dim", "projection of the timing signal, one vector a head",
           assigned(POSITION, "sin_emb"), paper=TRANSFORMER_XL),
    StepAt("audio.{path}.content", SCORES, "query . key: terms a and c of Transformer-XL",
           assigned(POSITION, "term_ac"), paper=TRANSFORMER_XL),
    StepAt("audio.{path}.position", "clip head block query distance", "query . projected distance: terms b and d",
           assigned(POSITION, "term_bd_unshifed"), paper=TRANSFORMER_XL),
    StepAt("audio.{path}.position_shifted", SCORES, "the same at each key's distance; zero for keys out of reach",
           assigned(POSITION, "term_bd_shifted"), paper=TRANSFORMER_XL),
)  # fmt: skip

SCORE_STEPS = (
    StepAt("audio.{path}.scores", SCORES, "content + position", assigned(ATTENTION, "logits", 0), paper=TRANSFORMER_XL),
    StepAt("audio.{path}.logits", SCORES, "cap x tanh(scores / cap), cap = conf_attention_logit_cap",
           assigned(ATTENTION, "logits", 3), paper=SOFTCAP),
    StepAt("audio.{path}.probabilities", SCORES,
           "softmax over the keys that the mask shows; a query that sees none weighs all keys alike",
           assigned(ATTENTION, "probabilities")),
    StepAt("audio.{path}.context", HEADS, "values weighed by the probabilities", returned(ATTENTION)),
)  # fmt: skip

POST_ATTENTION = (
    StepAt("audio.{path}.post", FRAMES, "output projection", assigned(AROUND, X, 1)),
    StepAt("audio.{path}.out", FRAMES, "input + RMSNorm of the projection", returned(AROUND), paper=CONFORMER),
)  # fmt: skip

MASKING_STEPS = (
    StepAt("audio.{path}.masked", FRAMES, "padded frames set to zero: the convolution must not carry them on",
           assigned(BLOCK, "audio_encodings_for_lconv_input")),
)  # fmt: skip

LIGHT_STEPS = (
    StepAt("audio.{path}.pre_layer_norm", FRAMES, "RMSNorm of the input", assigned(LIGHT, X, 0), paper=RMSNORM),
    StepAt("audio.{path}.linear_start", "clip frame two_hidden", "projection to twice the width: values, then gates",
           assigned(LIGHT, X, 1), paper=CONFORMER),
    StepAt("audio.{path}.glu", FRAMES, "values x sigmoid(gates)", assigned(LIGHT, X, 2), paper=GATED),
    StepAt("audio.{path}.depthwise_conv1d", FRAMES, "causal convolution in time, each channel on its own",
           assigned(LIGHT, X, 4), paper=CONFORMER),
    StepAt("audio.{path}.conv_norm", FRAMES, "RMSNorm of the convolution", assigned(LIGHT, X, 6), paper=RMSNORM),
    StepAt("audio.{path}.activation", FRAMES, "x sigmoid(x)", assigned(LIGHT, X, 7), paper=SWISH),
    StepAt("audio.{path}.linear_end", FRAMES, "projection", assigned(LIGHT, X, 8), paper=CONFORMER),
    StepAt("audio.{path}.out", FRAMES, "input + projection", assigned(LIGHT, "output"), paper=CONFORMER),
)  # fmt: skip

NORM_STEPS = (
    StepAt("audio.{path}.out", FRAMES, "the block's output: RMSNorm of all it added", returned(BLOCK), paper=CONFORMER),
)

BLOCK_STEPS = (
    ("ffw_layer_start", FEED_FORWARD_STEPS),
    ("attention", PRE_ATTENTION),
    ("attention.attn", PROJECTION_STEPS),
    ("attention.attn.relative_position_embedding", POSITION_STEPS),
    ("attention.attn", SCORE_STEPS),
    ("attention", POST_ATTENTION),
    ("", MASKING_STEPS),
    ("lconv1d", LIGHT_STEPS),
    ("ffw_layer_end", FEED_FORWARD_STEPS),
    ("", NORM_STEPS),
)
"""Path of the module inside the block, and its steps, in execution order."""
