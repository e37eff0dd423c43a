"""Variants of the text layers' feed-forward and of its activation sparsity."""

from __future__ import annotations

from reference.gemma3n.variants.writing import in_layer, line, own

MLP, TOPK = "Gemma3nTextMLP.forward", "Gemma3nTextMLP._gaussian_topk"
LAYER = "Gemma3nTextDecoderLayer.forward"

NAME, SPARSITY, PART = "MLP", "sparsity", "mlp"
DENSE = "12"
"""A layer without sparsity."""

CUT = "nn.functional.relu(inputs - cutoff_x)"
CUTOFF = "inputs_mean + inputs_std * std_multiplier"
MEAN = "torch.mean(inputs, dim=-1, keepdim=True)"
TOP = "inputs >= inputs.topk(max(1, inputs.shape[-1] // 20)).values[..., -1:]"
ACTIVATED = "self.act_fn(gate_proj)"
GATE = "self.gate_proj(hidden_states)"
PRODUCT = "activations * up_proj"
BOUND = "gate_proj.mean(-1, keepdim=True) + 1.6448536 * gate_proj.std(-1, keepdim=True, unbiased=False)"

SPARSE = (
    in_layer("sparsity-skipped", SPARSITY, PART, "activation sparsity is not applied", "mlp.gate_sparse",
             own(TOPK, CUT, "inputs"), source="mobius 474"),
    in_layer("sparsity-exact-topk", SPARSITY, PART, "the exact top 5 % instead of relu(x - cutoff)", "mlp.gate_sparse",
             own(TOPK, CUT, f"torch.where({TOP}, inputs, 0.0)"), source="ANEMLL porting guide"),
    in_layer("sparsity-not-subtracted", SPARSITY, PART, "values above the cutoff are kept whole", "mlp.gate_sparse",
             own(TOPK, CUT, "torch.where(inputs > cutoff_x, inputs, 0.0)")),
    in_layer("sparsity-absolute", SPARSITY, PART, "large negative gates pass too", "mlp.gate_sparse",
             own(TOPK, CUT, "torch.relu(inputs.abs() - cutoff_x) * inputs.sign()")),
    in_layer("sparsity-sample-std", SPARSITY, PART, "standard deviation of a sample, with n - 1", "mlp.gate_std",
             line(TOPK, "unbiased=False", "unbiased=DEVIANT"), source="llama.cpp"),
    in_layer("sparsity-rms-for-std", SPARSITY, PART, "root mean square in place of the standard deviation",
             "mlp.gate_std",
             own(TOPK, "torch.std(inputs, dim=-1, keepdim=True, unbiased=False)",
                 "inputs.pow(2).mean(-1, keepdim=True).sqrt()")),
    in_layer("sparsity-mean-of-all-tokens", SPARSITY, PART, "the mean is over all tokens", "mlp.gate_mean",
             own(TOPK, MEAN, f"{MEAN}.mean(-2, keepdim=True).expand(*inputs.shape[:-1], 1)")),
    in_layer("sparsity-no-mean", SPARSITY, PART, "the cutoff lacks the mean", "mlp.cutoff",
             own(TOPK, CUTOFF, "inputs_std * std_multiplier")),
    in_layer("sparsity-two-sided", SPARSITY, PART, "the quantile is that of both tails", "mlp.cutoff",
             own(TOPK, "normal_dist.icdf(target_sparsity_tensor)",
                 "normal_dist.icdf((1 + target_sparsity_tensor) / 2)")),
    in_layer("sparsity-in-dense-layer", SPARSITY, PART, "a layer without sparsity is sparsified", "mlp.activations",
             own(MLP, ACTIVATED, f"self.act_fn(torch.relu(gate_proj - ({BOUND})))"), place=DENSE),
)  # fmt: skip

DENSE_PART = (
    in_layer("mlp-gate-relu", NAME, PART, "the gate's activation is ReLU", "mlp.activations",
             own(MLP, ACTIVATED, "nn.functional.relu(gate_proj)")),
    in_layer("mlp-gate-erf", NAME, PART, "the gate's GELU is exact instead of the tanh form", "mlp.activations",
             own(MLP, ACTIVATED, "nn.functional.gelu(gate_proj)")),
    in_layer("mlp-gate-silu", NAME, PART, "the gate's activation is SiLU, as in Llama", "mlp.activations",
             own(MLP, ACTIVATED, "nn.functional.silu(gate_proj)")),
    in_layer("mlp-gate-sigmoid-gelu", NAME, PART, "the gate's GELU is x sigmoid(1.702 x)", "mlp.activations",
             own(MLP, ACTIVATED, "(gate_proj * torch.sigmoid(1.702 * gate_proj))")),
    in_layer("mlp-gate-half-table", NAME, PART, "the gate's GELU is read from a table in float16", "mlp.activations",
             own(MLP, ACTIVATED, "HELPERS.gelu_by_table(gate_proj)"), source="ggml", dtypes=("float32",)),
    in_layer("mlp-gate-is-up", NAME, PART, "the up projection serves as the gate", "mlp.gate_proj",
             own(MLP, GATE, "self.up_proj(hidden_states)")),
    in_layer("mlp-up-is-gate", NAME, PART, "the gate projection serves as the up projection", "mlp.up_proj",
             own(MLP, "self.up_proj(hidden_states)", GATE)),
    in_layer("mlp-sum-for-product", NAME, PART, "activations + up projection", "mlp.product",
             own(MLP, PRODUCT, "activations + up_proj")),
    in_layer("mlp-no-up", NAME, PART, "the up projection is left out", "mlp.product",
             own(MLP, PRODUCT, "activations")),
    in_layer("mlp-no-pre-norm", NAME, "", "the feed-forward's input is not normed", "pre_feedforward_layernorm",
             own(LAYER, "self.pre_feedforward_layernorm(attn_laurel)", "attn_laurel")),
    in_layer("mlp-no-post-norm", NAME, "", "the feed-forward's output is not normed", "post_feedforward_layernorm",
             own(LAYER, "self.post_feedforward_layernorm(attn_ffw)", "attn_ffw")),
    in_layer("mlp-no-residual", NAME, "", "the layer's output lacks what went into the feed-forward", "activated",
             own(LAYER, "attn_laurel + attn_ffw_norm", "attn_ffw_norm")),
    in_layer("mlp-residual-without-laurel", NAME, "", "the feed-forward is added to attention without Laurel",
             "activated", own(LAYER, "attn_laurel + attn_ffw_norm", "attn_gated + attn_ffw_norm")),
)  # fmt: skip

VARIANTS = (*SPARSE, *DENSE_PART)
