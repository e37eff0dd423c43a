"""Legitimate reorderings: the same mathematics in another order of operations, everywhere at once. None may be flagged.

`Variant.first` is the step whose value is computed another way.
"""

from __future__ import annotations

from parity.variant import Variant
from reference.gemma3n.variants.writing import PICTURE, SOUND, line, variant

EAGER, ATTENTION = "eager_attention_forward", "Gemma3nTextAttention.forward"
NORM, MLP, TOPK = "Gemma3nRMSNorm._norm", "Gemma3nTextMLP.forward", "Gemma3nTextMLP._gaussian_topk"
LAUREL, LAYER = "Gemma3nTextLaurelBlock.forward", "Gemma3nTextDecoderLayer.forward"
PREDICT, HEAD = "Gemma3nTextAltUp.predict", "Gemma3nForConditionalGeneration.forward"
LIGHT, POSITION = "Gemma3nAudioConformerLightConv1d.forward", "Gemma3nAudioRelativePositionEmbedding.forward"
VISION_NORM = "timm.layers.norm_act:RmsNormAct2d.forward"

NAME = "reorderings"
SDPA = "nn.functional.scaled_dot_product_attention(query, key_states, value_states, attn_mask=attention_mask,"
GELU = "gate_proj * 0.5 * (1 + torch.tanh(0.7978845608028654 * (gate_proj + 0.044715 * gate_proj**3)))"
BY_HAND = "(attn_weights - attn_weights.amax(-1, keepdim=True)).float().exp()"
FRAMES = "audio_encodings_permuted_padded.unfold(-1, self.causal_padding + 1, 1)"


def _same(name: str, meaning: str, step: str, *edits: tuple[str, str, str], media: tuple[str, ...] = ()) -> Variant:
    """A computation done another way."""
    lines = (line(*edit) for edit in edits)
    return variant(name, NAME, meaning, step, *lines, media=media, equivalent="the same sums in another order")


VARIANTS = (
    _same("attention-fused", "attention by torch's fused kernel", "text.layers.0.attn.context",
          (EAGER, "torch.matmul(attn_weights, value_states)", f"{SDPA} scale=scaling)")),
    _same("softmax-by-hand", "exponentials of differences, divided by their sum", "text.layers.0.attn.context",
          (EAGER, "nn.functional.softmax(attn_weights, dim=-1, dtype=torch.float32)",
           f"({BY_HAND} / {BY_HAND}.sum(-1, keepdim=True))")),
    _same("softmax-divided-late", "values are summed first and divided by the sum then", "text.layers.0.attn.context",
          (EAGER, "torch.matmul(attn_weights, value_states)",
           "torch.matmul(attn_weights * 3, value_states) / (attn_weights * 3).sum(-1, keepdim=True)")),
    _same("projection-split", "the output projection in four partial sums", "text.layers.0.attn.o_proj",
          (ATTENTION, "self.o_proj(attn_output)",
           "sum(nn.functional.linear(x, w) for x, w in"
           " zip(attn_output.chunk(4, -1), self.o_proj.weight.chunk(4, -1)))")),
    _same("projections-joined", "queries as the first part of one projection with others",
          "text.layers.0.attn.q_proj",
          (ATTENTION, "self.q_proj(hidden_states)", "nn.functional.linear(hidden_states, torch.cat("
           "(self.q_proj.weight, self.q_proj.weight.flip(0))))[..., : self.q_proj.out_features]")),
    _same("sum-reversed", "the up projection sums from the last channel to the first", "text.layers.0.mlp.up_proj",
          (MLP, "self.up_proj(hidden_states)",
           "nn.functional.linear(hidden_states.flip(-1), self.up_proj.weight.flip(-1))")),
    _same("norm-fused", "RMSNorm by torch's own kernel", "text.layers.0.input_layernorm",
          (NORM, "hidden_states * torch.pow(mean_squared, -0.5)",
           "nn.functional.rms_norm(hidden_states, hidden_states.shape[-1:], eps=self.eps)")),
    _same("norm-divided", "division by the root instead of multiplication by its inverse",
          "text.layers.0.input_layernorm",
          (NORM, "hidden_states * torch.pow(mean_squared, -0.5)", "hidden_states / mean_squared.sqrt()")),
    _same("gelu-by-formula", "the tanh form written out", "text.layers.0.mlp.activations",
          (MLP, "self.act_fn(gate_proj)", GELU)),
    _same("variance-by-squares", "standard deviation by two means", "text.layers.0.mlp.gate_std",
          (TOPK, "torch.std(inputs, dim=-1, keepdim=True, unbiased=False)",
           "(inputs - inputs.mean(-1, keepdim=True)).pow(2).mean(-1, keepdim=True).sqrt()")),
    _same("laurel-transposed", "Laurel's up-projection with weights on the left", "text.layers.0.laurel.right",
          (LAUREL, "self.linear_right(laurel_hidden_states)",
           "(self.linear_right.weight @ laurel_hidden_states.transpose(-1, -2)).transpose(-1, -2)")),
    _same("sqrt2-multiplied", "x 1/sqrt(2) instead of / sqrt(2)", "text.layers.0.attn_laurel",
          (LAYER, "/ math.sqrt(2)", "* (1 / math.sqrt(2))")),
    _same("altup-by-einsum", "the streams are mixed by a sum over products", "text.layers.0.altup.predict.mixed",
          (PREDICT, "torch.matmul(hidden_states.permute(1, 2, 3, 0), all_coefs)",
           "(hidden_states.permute(1, 2, 3, 0)[..., None] * all_coefs[:, :, None]).sum(-2)")),
    _same("soft-cap-folded", "x 1/cap instead of / cap", "text.logits",
          (HEAD, "logits / final_logit_softcapping", "logits * (1 / final_logit_softcapping)")),
    _same("vision-norm-divided", "the tower's norm divides by the root", "vision.conv_stem.bn",
          (VISION_NORM, "x = rms_norm2d(x, self.normalized_shape, self.weight, self.eps)",
           "x = (x / (x.pow(2).mean(1, keepdim=True) + self.eps).sqrt() * self.weight.view(1, -1, 1, 1))"),
          media=PICTURE),
    _same("light-convolution-by-frames", "the depthwise convolution as products of frames",
          "audio.conformer.0.lconv1d.depthwise_conv1d",
          (LIGHT, "self.depthwise_conv1d(audio_encodings_permuted_padded)",
           f"({FRAMES} * self.depthwise_conv1d.weight).sum(-1)"), media=SOUND),
    _same("audio-scores-by-einsum", "content scores in one contraction",
          "audio.conformer.0.attention.attn.relative_position_embedding.content",
          (POSITION, "torch.matmul(queries_p, keys_p_t)",
           "torch.einsum('buwnh,bucnh->bnuwc', queries, keys)"), media=SOUND),
)  # fmt: skip
