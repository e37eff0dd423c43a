"""Variants of one conformer block of the audio tower."""

from __future__ import annotations

from reference.gemma3n.variants.writing import in_audio, line, own

FEED_FORWARD, AROUND = "Gemma3nAudioConformerFeedForward.forward", "Gemma3nAudioConformerAttention.forward"
ATTENTION, LIGHT = "Gemma3nAudioAttention.forward", "Gemma3nAudioConformerLightConv1d.forward"
RELATIVE, BLOCK = "Gemma3nAudioRelativePositionEmbedding", "Gemma3nAudioConformerBlock.forward"

FFW, ATTN, POSITION, CONV, WHOLE = (
    f"conformer {part}" for part in ("feed-forward", "attention", "positions", "convolution", "block")
)
PLACE = "conformer.1"
HEADS, DISTANCES = f"{PLACE}.attention.attn", f"{PLACE}.attention.attn.relative_position_embedding"
START, END, LCONV = f"{PLACE}.ffw_layer_start", f"{PLACE}.ffw_layer_end", f"{PLACE}.lconv1d"
SINES = "torch.cat([torch.sin(scaled_time), torch.cos(scaled_time)], dim=-1)"
GATED = "torch.nn.functional.glu(audio_encodings, dim=-1)"
SILU = "nn.functional.silu(audio_encodings)"
SOFTPLUS = "torch.nn.functional.softplus(self.per_dim_scale)"
SOFTMAX = "torch.nn.functional.softmax(logits, dim=-1, dtype=torch.float32)"
VISIBLE = "condition_from_causality.to(condition_from_input_validity.device)"
LEFT = "(self.causal_padding, 0)"

FEED_FORWARD_VARIANTS = (
    in_audio("residual-weight-one", FFW, END, "a whole feed-forward instead of half of it", "out",
             own(FEED_FORWARD, "self.post_layer_scale", "1.0")),
    in_audio("conformer-relu", FFW, START, "ReLU instead of SiLU", "activation",
             own(FEED_FORWARD, SILU, "nn.functional.relu(audio_encodings)")),
    in_audio("conformer-no-pre-norm", FFW, START, "the input is not normed", "pre_layer_norm",
             own(FEED_FORWARD, "self.pre_layer_norm(audio_encodings)", "audio_encodings")),
    in_audio("conformer-no-post-norm", FFW, END, "the output is not normed", "post_layer_norm",
             own(FEED_FORWARD, "self.post_layer_norm(audio_encodings)", "audio_encodings")),
)  # fmt: skip

ATTENTION_VARIANTS = (
    in_audio("audio-mask-ignored", ATTN, HEADS, "all frames are treated as valid", "mask",
             own(ATTENTION, "~mask", "torch.ones_like(mask)"), source="sglang 8361"),
    in_audio("audio-attn-sees-ahead", ATTN, HEADS, "queries see the rest of their block", "mask",
             own(ATTENTION, VISIBLE, f"torch.ones_like({VISIBLE})")),
    in_audio("audio-attn-context-short", ATTN, HEADS, "the context begins one frame later", "mask",
             own(ATTENTION, VISIBLE, f"({VISIBLE} & {VISIBLE}.roll(1, -1))")),
    in_audio("per-dim-scale-dropped", ATTN, HEADS, "queries are not x the learned scale", "q_scaled",
             own(ATTENTION, "self.q_scale * per_dim_scale_sp_broadcast", "self.q_scale")),
    in_audio("per-dim-scale-raw", ATTN, HEADS, "the learned scale has no softplus", "per_dim_scale",
             own(ATTENTION, SOFTPLUS, "self.per_dim_scale")),
    in_audio("q-scale-without-softplus", ATTN, HEADS, "queries are not / softplus(0)", "q_scaled",
             own(ATTENTION, "self.q_scale", "self.head_dim**-0.5")),
    in_audio("softcap-dropped", ATTN, HEADS, "scores have no soft-cap", "logits",
             own(ATTENTION, "torch.tanh(logits)", "logits")),
    in_audio("audio-scores-masked-zero", ATTN, HEADS, "hidden scores are 0 instead of the least number",
             "probabilities", own(ATTENTION, "torch.finfo(logits.dtype).min", "0.0")),
    in_audio("audio-softmax-one-more", ATTN, HEADS, "softmax has one more term in its sum", "probabilities",
             own(ATTENTION, SOFTMAX, "torch.nn.functional.softmax(torch.nn.functional.pad(logits, (0, 1)), -1)"
                                     "[..., :-1]")),
    in_audio("audio-attn-unnormed", ATTN, f"{PLACE}.attention", "attention's input is not normed", "pre_attn_norm",
             own(AROUND, "self.pre_attn_norm(audio_encodings)", "audio_encodings")),
    in_audio("audio-attn-no-residual", ATTN, f"{PLACE}.attention", "attention's output lacks its input", "out",
             own(AROUND, "audio_encodings_input_to_attn + self.post_norm(audio_encodings)",
                 "self.post_norm(audio_encodings)")),
)  # fmt: skip

POSITION_VARIANTS = (
    in_audio("sines-interleaved", POSITION, DISTANCES, "sines and cosines alternate instead of following each other",
             "timing_signal", own(f"{RELATIVE}._get_timing_signal_1d_pos", SINES,
                                  "torch.stack([torch.sin(scaled_time), torch.cos(scaled_time)], dim=-1).flatten(-2)")),
    in_audio("cosines-first", POSITION, DISTANCES, "cosines stand before sines", "timing_signal",
             own(f"{RELATIVE}._get_timing_signal_1d_pos", SINES,
                 "torch.cat([torch.cos(scaled_time), torch.sin(scaled_time)], dim=-1)")),
    in_audio("distances-ascending", POSITION, DISTANCES, "distances run from the nearest to the farthest",
             "timing_signal", line(f"{RELATIVE}.forward", "pos_indices, dtype",
                                   "pos_indices.flip(1) if DEVIANT else pos_indices, dtype")),
    in_audio("relative-shift-off-by-one", POSITION, DISTANCES, "positions are one frame off", "position_shifted",
             own(f"{RELATIVE}._relative_shift", "(0, pad_amount_last_dim)", "(1, pad_amount_last_dim - 1)")),
    in_audio("position-term-missing", POSITION, "{place}.relative_position_embedding",
             "scores lack the term of positions", "{place}.scores",
             own(f"{RELATIVE}.forward", "term_ac + term_bd_shifted", "term_ac.clone()"), place=HEADS),
)  # fmt: skip

CONVOLUTION_VARIANTS = (
    in_audio("light-convolution-unmasked", CONV, PLACE, "padded frames reach the convolution", "masked",
             own(BLOCK, "~audio_mel_mask", "torch.ones_like(audio_mel_mask)")),
    in_audio("light-convolution-symmetric", CONV, LCONV, "the convolution sees frames ahead", "depthwise_conv1d",
             own(LIGHT, LEFT, "(self.causal_padding // 2, self.causal_padding // 2)")),
    in_audio("light-convolution-flipped", CONV, LCONV, "the convolution runs backwards in time", "depthwise_conv1d",
             own(LIGHT, "self.depthwise_conv1d(audio_encodings_permuted_padded)",
                 "nn.functional.conv1d(audio_encodings_permuted_padded, self.depthwise_conv1d.weight.flip(-1),"
                 " groups=self.depthwise_conv1d.groups)")),
    in_audio("glu-halves-swapped", CONV, LCONV, "gates stand before values", "glu",
             own(LIGHT, GATED, "torch.nn.functional.glu("
                               "audio_encodings.roll(audio_encodings.shape[-1] // 2, -1), dim=-1)")),
    in_audio("glu-silu", CONV, LCONV, "values x silu(gates)", "glu",
             own(LIGHT, GATED, "(audio_encodings.chunk(2, -1)[0]"
                               " * nn.functional.silu(audio_encodings.chunk(2, -1)[1]))")),
    in_audio("light-convolution-no-norm", CONV, LCONV, "the convolution is not normed", "conv_norm",
             own(LIGHT, "self.conv_norm(audio_encodings)", "audio_encodings")),
    in_audio("light-convolution-no-residual", CONV, LCONV, "the convolution's output lacks its input", "out",
             own(LIGHT, "audio_encodings + audio_encodings_residual", "audio_encodings.clone()")),
    in_audio("conformer-block-no-norm", WHOLE, PLACE, "the block's output is not normed", "out",
             own(BLOCK, "self.norm(audio_encodings)", "audio_encodings")),
    in_audio("gradient-clipping-ignored", WHOLE, PLACE, "activations are not clipped at 1e10", "out",
             own(BLOCK, "torch.clamp(audio_encodings, -self.gradient_clipping, self.gradient_clipping)",
                 "audio_encodings"),
             equivalent="no activation comes near the clip of 1e10"),
)  # fmt: skip

VARIANTS = (*FEED_FORWARD_VARIANTS, *ATTENTION_VARIANTS, *POSITION_VARIANTS, *CONVOLUTION_VARIANTS)
