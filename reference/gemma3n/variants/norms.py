"""Variants of RMSNorm in the language model."""

from __future__ import annotations

from parity.variant import Degree
from reference.gemma3n.variants.writing import in_layer, in_text, line, own

NORM, ROOT = "Gemma3nRMSNorm.forward", "Gemma3nRMSNorm._norm"
NAME = "norms"
GAIN = "self.weight.float()"
NORMED = "self._norm(hidden_states.float())"
MEAN = "hidden_states.pow(2).mean(-1, keepdim=True)"

LAYER_NORMS = {
    "input_layernorm": "input_layernorm",
    "laurel.normed": "laurel.post_laurel_norm",
    "attn.q_norm": "self_attn.q_norm",
    "attn.k_norm": "self_attn.k_norm",
    "attn.v_norm": "self_attn.v_norm",
    "post_attention_layernorm": "post_attention_layernorm",
    "pre_feedforward_layernorm": "pre_feedforward_layernorm",
    "post_feedforward_layernorm": "post_feedforward_layernorm",
    "altup.predict.router_input": "altup.router_norm",
    "altup.correct.router_input": "altup.router_norm",
    "post_per_layer_input_norm": "post_per_layer_input_norm",
}
"""Steps of a text layer that are a norm's output, and the norm."""
AUDIO_NORMS = {
    "{place}.pre_layer_norm": "{place}.pre_layer_norm",
    "{place}.post_layer_norm": "{place}.post_layer_norm",
    "{place}.pre_attn_norm": "{place}.pre_attn_norm",
    "{place}.conv_norm": "{place}.conv_norm",
    "{place}.attention.out": "{place}.attention.post_norm",
    "conformer.{place}.out": "conformer.{place}.norm",
}
"""The same of the conformer; attention's last norm is first seen in the sum behind it."""
EVERYWHERE = {
    "elsewhere": (
        *((f"text.layers.{{place}}.{step}", f"model.language_model.layers.{{place}}.{module}")
          for step, module in LAYER_NORMS.items()),
        ("text.norm", "model.language_model.norm"),
        ("text.per_layer_inputs.projection_norm", "model.language_model.per_layer_projection_norm"),
        ("embed_vision.soft", "model.embed_vision.soft_embedding_norm"),
        ("embed_audio.soft", "model.embed_audio.soft_embedding_norm"),
        *((f"audio.{step}", f"model.audio_tower.{module}") for step, module in AUDIO_NORMS.items()),
    )
}  # fmt: skip
"""All norms are of one class, so that what is wrong in one may be in any."""

VARIANTS = (
    in_layer("norm-one-plus-weight", NAME, "input_layernorm", "gain 1 + w, as in Gemma 3, instead of w",
             "input_layernorm", own(NORM, GAIN, f"(1.0 + {GAIN})"), source="mold 1078, nntrainer 3672", **EVERYWHERE),
    in_layer("norm-no-gain", NAME, "input_layernorm", "the norm has no gain", "input_layernorm",
             own(NORM, GAIN, "1.0"), **EVERYWHERE),
    in_layer("norm-gain-off", NAME, "post_attention_layernorm", "a gain of 1.0001 too many",
             "post_attention_layernorm", own(NORM, GAIN, f"({GAIN} * 1.0001)"), **EVERYWHERE,
             degree=Degree(1.0, 1.0001, "a gain of {} too many")),
    in_layer("norm-epsilon", NAME, "pre_feedforward_layernorm", "epsilon 1e-5 instead of 1e-6",
             "pre_feedforward_layernorm", own(ROOT, "self.eps", "1e-5"), **EVERYWHERE,
             degree=Degree(1e-6, 1e-5, "epsilon {} instead of 1e-6")),
    in_layer("norm-mean-subtracted", NAME, "input_layernorm", "LayerNorm: the mean is subtracted", "input_layernorm",
             own(NORM, NORMED, "self._norm(hidden_states.float() - hidden_states.float().mean(-1, keepdim=True))"),
             **EVERYWHERE),
    in_layer("norm-sum-for-mean", NAME, "input_layernorm", "the sum of squares instead of their mean",
             "input_layernorm", own(ROOT, MEAN, "hidden_states.pow(2).sum(-1, keepdim=True)"), **EVERYWHERE),
    in_layer("norm-mean-abs", NAME, "input_layernorm", "the mean absolute value instead of the root mean square",
             "input_layernorm", own(ROOT, MEAN, "hidden_states.abs().mean(-1, keepdim=True).pow(2)"), **EVERYWHERE),
    in_layer("norm-over-tokens", NAME, "input_layernorm", "one root for all tokens of the chunk", "input_layernorm",
             own(ROOT, MEAN, "hidden_states.pow(2).mean((-1, -2), keepdim=True)"), **EVERYWHERE),
    in_layer("norm-gain-reversed", NAME, "post_feedforward_layernorm", "the gain's channels are reversed",
             "post_feedforward_layernorm", own(NORM, GAIN, f"{GAIN}.flip(0)"), **EVERYWHERE),
    in_text("norm-final-missing", NAME, "", "the final norm is left out", "norm",
            line("Gemma3nTextModel.forward", "self.norm(hidden_states)", "hidden_states")),
    in_text("norm-final-plus-one", NAME, "norm", "the final norm's gain is 1 + w", "norm",
            own(NORM, GAIN, f"(1.0 + {GAIN})")),
)  # fmt: skip
