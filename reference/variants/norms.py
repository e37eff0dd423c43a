"""Variants of RMSNorm in the language model."""

from __future__ import annotations

from reference.variants.writing import in_layer, in_text, line, own

NORM, ROOT = "Gemma3nRMSNorm.forward", "Gemma3nRMSNorm._norm"
NAME = "norms"
GAIN = "self.weight.float()"
NORMED = "self._norm(hidden_states.float())"
MEAN = "hidden_states.pow(2).mean(-1, keepdim=True)"

VARIANTS = (
    in_layer("norm-one-plus-weight", NAME, "input_layernorm", "gain 1 + w, as in Gemma 3, instead of w",
             "input_layernorm", own(NORM, GAIN, f"(1.0 + {GAIN})"), source="mold 1078, nntrainer 3672"),
    in_layer("norm-no-gain", NAME, "input_layernorm", "the norm has no gain", "input_layernorm",
             own(NORM, GAIN, "1.0")),
    in_layer("norm-gain-off", NAME, "post_attention_layernorm", "a gain of 1.0001 too many",
             "post_attention_layernorm", own(NORM, GAIN, f"({GAIN} * 1.0001)")),
    in_layer("norm-epsilon", NAME, "pre_feedforward_layernorm", "epsilon 1e-5 instead of 1e-6",
             "pre_feedforward_layernorm", own(ROOT, "self.eps", "1e-5")),
    in_layer("norm-mean-subtracted", NAME, "input_layernorm", "LayerNorm: the mean is subtracted", "input_layernorm",
             own(NORM, NORMED, "self._norm(hidden_states.float() - hidden_states.float().mean(-1, keepdim=True))")),
    in_layer("norm-sum-for-mean", NAME, "input_layernorm", "the sum of squares instead of their mean",
             "input_layernorm", own(ROOT, MEAN, "hidden_states.pow(2).sum(-1, keepdim=True)")),
    in_layer("norm-mean-abs", NAME, "input_layernorm", "the mean absolute value instead of the root mean square",
             "input_layernorm", own(ROOT, MEAN, "hidden_states.abs().mean(-1, keepdim=True).pow(2)")),
    in_layer("norm-over-tokens", NAME, "input_layernorm", "one root for all tokens of the chunk", "input_layernorm",
             own(ROOT, MEAN, "hidden_states.pow(2).mean((-1, -2), keepdim=True)")),
    in_layer("norm-gain-reversed", NAME, "post_feedforward_layernorm", "the gain's channels are reversed",
             "post_feedforward_layernorm", own(NORM, GAIN, f"{GAIN}.flip(0)")),
    in_text("norm-final-missing", NAME, "", "the final norm is left out", "norm",
            line("Gemma3nTextModel.forward", "self.norm(hidden_states)", "hidden_states")),
    in_text("norm-final-plus-one", NAME, "norm", "the final norm's gain is 1 + w", "norm",
            own(NORM, GAIN, f"(1.0 + {GAIN})")),
)  # fmt: skip
