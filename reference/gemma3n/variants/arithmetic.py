"""Variants of precision: what is rounded too early, or kept in too few bits."""

from __future__ import annotations

from parity.site import Edit
from reference.gemma3n.variants.norms import EVERYWHERE
from reference.gemma3n.variants.writing import COARSE, in_layer, in_text, line, own

NORM, ATTENTION = "Gemma3nRMSNorm.forward", "Gemma3nTextAttention.forward"
EAGER, ROTARY = "eager_attention_forward", "Gemma3nRotaryEmbedding.forward"
ROUTER, MLP = "Gemma3nTextAltUp.compute_router_modalities", "Gemma3nTextMLP.forward"
LAYER, HEAD = "Gemma3nTextDecoderLayer.forward", "Gemma3nForConditionalGeneration.forward"
GET, EMBED = "Gemma3nTextModel.get_per_layer_inputs", "Gemma3nTextScaledWordEmbedding.forward"

DTYPE, BITS = "arithmetic", "quantisation"
NORMED = "self._norm(hidden_states.float())"
SOFTMAX = "nn.functional.softmax(attn_weights, dim=-1, dtype=torch.float32)"
TABLE = "self.embed_tokens_per_layer(input_ids)"
DOWN = "down_proj = self.down_proj(activations * up_proj)"
UPDATED = "past_key_values.update(key_states, value_states, self.layer_idx)"
ANGLE = "position_ids[..., None].float() * inv_freq.to(device=x.device, dtype=torch.float)"


def _down(change: str) -> Edit:
    """Other weights of the down projection, whose call stays: its argument is a step."""
    return line(MLP, DOWN, f"with HELPERS.reweighed(self.down_proj, ({change}) if DEVIANT else None):\n        {DOWN}")


ROUNDED = (
    in_layer("norm-before-upcast", DTYPE, "input_layernorm", "the gain is multiplied after rounding to the working"
             " dtype", "input_layernorm",
             line(NORM, "normed_output * self.weight.float()",
                  "(normed_output.type_as(hidden_states) * self.weight"
                  " if DEVIANT else normed_output * self.weight.float())"),
             dtypes=COARSE, source="transformers 29402, vLLM 3653", **EVERYWHERE),
    in_layer("norm-variance-bf16", DTYPE, "input_layernorm", "the mean of squares is accumulated in the working dtype",
             "input_layernorm",
             own(NORM, NORMED, "(hidden_states * torch.pow(hidden_states.pow(2).cumsum(-1)[..., -1:]"
                               " / hidden_states.shape[-1] + self.eps, -0.5)).float()"),
             dtypes=("bfloat16",), source="sglang 27540", **EVERYWHERE),
    in_layer("softmax-in-working-dtype", DTYPE, "self_attn", "softmax is computed in the working dtype",
             "attn.context",
             own(EAGER, SOFTMAX, "(attn_weights - attn_weights.amax(-1, keepdim=True)).exp().div("
                                 "(attn_weights - attn_weights.amax(-1, keepdim=True)).exp().cumsum(-1)[..., -1:])"),
             dtypes=("bfloat16",)),
    in_text("rope-angles-rounded", DTYPE, "", "angles are rounded to the working dtype", "layers.0.attn.q_rope",
            line(ROTARY, ANGLE, f"({ANGLE}).to(x.dtype)"), dtypes=COARSE, scenario="long"),
    in_layer("residual-in-bfloat16", DTYPE, "", "a residual sum is rounded to bfloat16", "activated",
             own(LAYER, "attn_laurel + attn_ffw_norm",
                 "(attn_laurel + attn_ffw_norm).bfloat16().to(attn_laurel.dtype)"), dtypes=("float32", "float16")),
    in_layer("activation-in-float16", DTYPE, "mlp", "the feed-forward's product is rounded to float16", "mlp.product",
             own(MLP, "activations * up_proj", "(activations * up_proj).half().to(up_proj.dtype)"),
             dtypes=("float32",)),
    in_layer("mlp-fp8", DTYPE, "mlp", "the down projection's weights are float8", "mlp.down_proj",
             _down("lambda w: w.to(torch.float8_e4m3fn).to(w.dtype)")),
    in_text("logits-in-bfloat16", DTYPE, "", "logits are rounded to bfloat16", "logits",
            line(HEAD, "logits * final_logit_softcapping",
                 "(logits * final_logit_softcapping).bfloat16().to(logits.dtype)"), dtypes=("float32", "float16")),
)  # fmt: skip

QUANTISED = (
    in_text("ple-4bit", BITS, "", "the per-layer table is quantised to 4 bits", "per_layer_inputs.token",
            line(GET, TABLE, f"HELPERS.quantised({TABLE}, 4)"), source="llama.cpp and ollama conversions"),
    in_text("ple-8bit", BITS, "", "the per-layer table is quantised to 8 bits", "per_layer_inputs.token",
            line(GET, TABLE, f"HELPERS.quantised({TABLE}, 8)")),
    in_text("embed-4bit", BITS, "embed_tokens", "the embedding table is quantised to 4 bits", "embed_tokens",
            own(EMBED, "super().forward(input_ids)", "HELPERS.quantised(super().forward(input_ids), 4)")),
    in_text("unembed-8bit", BITS, "", "the head's table is quantised to 8 bits", "lm_head",
            line(HEAD, "self.lm_head(hidden_states)",
                 "nn.functional.linear(hidden_states, HELPERS.quantised(self.lm_head.weight, 8))")),
    in_layer("attn-query-4bit", BITS, "self_attn", "the query projection is quantised to 4 bits", "attn.q_proj",
             own(ATTENTION, "self.q_proj(hidden_states)",
                 "nn.functional.linear(hidden_states, HELPERS.quantised(self.q_proj.weight, 4))")),
    in_layer("mlp-down-8bit", BITS, "mlp", "the down projection is quantised to 8 bits", "mlp.down_proj",
             _down("lambda w: HELPERS.quantised(w, 8)")),
    in_layer("mlp-activations-8bit", BITS, "mlp", "activations are quantised to 8 bits", "mlp.product",
             own(MLP, "activations * up_proj", "HELPERS.quantised(activations * up_proj, 8)")),
    in_layer("kv-8bit", BITS, "self_attn", "cached keys and values are quantised to 8 bits", "attn.keys",
             own(ATTENTION, UPDATED, f"[HELPERS.quantised(part, 8) for part in {UPDATED}]"), scenario="cached"),
    in_layer("altup-router-8bit", BITS, "altup", "the router is quantised to 8 bits", "altup.predict.routed",
             own(ROUTER, "self.modality_router(router_inputs)",
                 "nn.functional.linear(router_inputs, HELPERS.quantised(self.modality_router.weight, 8))")),
)  # fmt: skip

VARIANTS = (*ROUNDED, *QUANTISED)
