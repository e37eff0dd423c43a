"""Variants of the audio path around the conformer: masks, subsampling, reduction, soft tokens."""

from __future__ import annotations

from reference.gemma3n.variants.writing import SOUND, STEREO, in_audio, line, own, variant

ENCODER, FEATURES = "Gemma3nAudioEncoder.forward", "Gemma3nModel.get_audio_features"
GROUP_NORM, CONVOLUTION = "Gemma3nAudioCumulativeGroupNorm.forward", "Gemma3nAudioSSCPConvBlock.forward"
SUBSAMPLE, MODEL = "Gemma3nAudioSubSampleConvProjection.forward", "Gemma3nModel.forward"

MASKS, SUBSAMPLING, REDUCTION, SOFT = "audio masks", "audio subsampling", "audio reduction", "audio soft tokens"
FIRST, SECOND = "subsample_conv_projection.conv_0", "subsample_conv_projection.conv_1"
CUMULATIVE = ("sum_values_at_t", "elements_in_group_at_t", "sum_sq_diff_at_t")
GIVEN = "input_features, input_features_mask,"
INDICES = "torch.arange(t_sub, device=audio_mel_mask.device) * time_stride_product"
REDUCED = "audio_encodings[:, :: self.config.conf_reduction_factor]"
OUT = "audio_encodings.masked_fill(current_mask.unsqueeze(-1), 0.0)"
PADDED = "torch.where(audio_mask.unsqueeze(-1), audio_padding_embs, audio_features)"
JOINED = "torch.cat((audio_features, extra_padding_features), dim=1)"

MASK_VARIANTS = (
    in_audio("audio-mask-shifted", MASKS, "", "the mask reaches the tower one frame shorter", "mask",
             line(FEATURES, GIVEN, "input_features, input_features_mask.roll(-1, 1) | input_features_mask,")),
    in_audio("audio-mask-inverted", MASKS, "", "the mask reaches the tower inverted", "mask",
             line(FEATURES, GIVEN, "input_features, ~input_features_mask,")),
    in_audio("mask-not-subsampled", MASKS, "", "the mask of the first frames instead of every fourth",
             "subsampled_mask", line(ENCODER, INDICES, "torch.arange(t_sub, device=audio_mel_mask.device)")),
    in_audio("mask-subsampled-late", MASKS, "", "the mask of the frame behind each four instead of their first",
             "subsampled_mask", line(ENCODER, INDICES, f"({INDICES} + time_stride_product)")),
    in_audio("audio-mel-swapped", MASKS, "", "the mel bands are in reverse order", "mel",
             line(FEATURES, GIVEN, "input_features.flip(-1), input_features_mask,")),
)  # fmt: skip

SUBSAMPLING_VARIANTS = (
    in_audio("sscp-layernorm", SUBSAMPLING, f"{FIRST}.norm", "plain layer norm for the cumulative group norm",
             "cum_mean", *(own(GROUP_NORM, f"torch.cumsum({name}, dim=1)", name) for name in CUMULATIVE),
             source="llama.cpp 21348"),
    in_audio("sscp-group-norm-whole", SUBSAMPLING, f"{SECOND}.norm", "statistics of the whole clip in every frame",
             "cum_mean",
             *(own(GROUP_NORM, f"torch.cumsum({name}, dim=1)", f"{name}.sum(1, keepdim=True).expand_as({name})")
               for name in CUMULATIVE)),
    in_audio("sscp-variance-own-frame", SUBSAMPLING, f"{SECOND}.norm", "the variance is that of the frame alone",
             "cum_variance", own(GROUP_NORM, "cum_sum_sq_diff / safe_cum_count_elements",
                                 "sum_sq_diff_at_t / elements_in_group_at_t")),
    in_audio("sscp-eps", SUBSAMPLING, "{place}.norm", "the group norm's epsilon is not read from the configuration",
             "{place}.normed", own(GROUP_NORM, "self.eps", "1e-5"), place=FIRST, media=STEREO, source="mlx-vlm"),
    in_audio("sscp-no-gain", SUBSAMPLING, "{place}.norm", "the group norm has no gain", "{place}.normed",
             own(GROUP_NORM, "normalized_x * scale.view(scale_view_shape)", "normalized_x"), place=FIRST),
    in_audio("sscp-padding-symmetric", SUBSAMPLING, FIRST, "time is padded on both sides", "conv",
             own(CONVOLUTION, "self.manual_padding", "(1, 1, 1, 1)")),
    in_audio("sscp-padding-causal", SUBSAMPLING, SECOND, "time is padded in front", "conv",
             own(CONVOLUTION, "self.manual_padding", "(1, 1, 2, 0)")),
    in_audio("sscp-bands-padded-right", SUBSAMPLING, FIRST, "bands are padded behind the last alone", "conv",
             own(CONVOLUTION, "self.manual_padding", "(0, 2, 0, 2)")),
    in_audio("sscp-kernel-transposed", SUBSAMPLING, FIRST, "the kernel's frames and bands are exchanged", "conv",
             own(CONVOLUTION, "self.conv(audio_encodings_padded)",
                 "HELPERS.with_kernel(self.conv, audio_encodings_padded, lambda w: w.transpose(2, 3))")),
    in_audio("sscp-no-activation", SUBSAMPLING, SECOND, "no ReLU behind the norm", "out",
             own(CONVOLUTION, "self.activation(audio_encodings_normed)", "audio_encodings_normed.clone()")),
    in_audio("sscp-channels-outside", SUBSAMPLING, "", "a frame's bands are flattened inside its channels",
             "subsample_conv_projection.flattened",
             line(SUBSAMPLE, "x.permute(0, 2, 3, 1)", "x.permute(0, 2, 1, 3).reshape(b, t_out, f_out, c_out)")),
    in_audio("sscp-frames-flattened", SUBSAMPLING, "", "frames and channels are swapped on flattening",
             "subsample_conv_projection.flattened",
             line(SUBSAMPLE, "x.permute(0, 2, 3, 1)", "x.reshape(b, t_out, f_out, c_out)")),
)  # fmt: skip

END_VARIANTS = (
    in_audio("reduction-offset", REDUCTION, "", "the second of four frames is kept instead of the first",
             "reduced", line(ENCODER, REDUCED, "audio_encodings.roll(-1, 1)"
                                                     "[:, :: self.config.conf_reduction_factor]")),
    in_audio("reduction-mean", REDUCTION, "", "four frames are averaged instead of the first kept", "reduced",
             line(ENCODER, REDUCED, "torch.stack([audio_encodings.roll(-n, 1)[:, :: self.config.conf_reduction_factor]"
                                    " for n in range(self.config.conf_reduction_factor)]).mean(0)")),
    in_audio("output-unmasked", REDUCTION, "", "padded frames are not set to zero", "out",
             line(ENCODER, OUT, "audio_encodings")),
    variant("soft-padding-wrong-id", SOFT, "padding gets the last but one audio id's embedding",
            "embed_audio.padding", line(MODEL, "[[self.vocab_size - 1]]", "[[self.vocab_size - 2]]"), media=SOUND),
    variant("soft-padding-inside-only", SOFT, "padded frames keep their features", "embed_audio.soft_tokens",
            line(MODEL, PADDED, "audio_features"), media=SOUND),
    variant("soft-padding-in-front", SOFT, "soft tokens are padded in front instead of behind",
            "embed_audio.soft_tokens",
            line(MODEL, JOINED, "torch.cat((extra_padding_features, audio_features), dim=1)"), media=SOUND),
    variant("soft-padding-zero", SOFT, "soft tokens are padded with zeros", "embed_audio.soft_tokens",
            line(MODEL, JOINED, "torch.cat((audio_features, 0 * extra_padding_features), dim=1)"), media=SOUND),
)  # fmt: skip

VARIANTS = (*MASK_VARIANTS, *SUBSAMPLING_VARIANTS, *END_VARIANTS)
