"""Where the installed mlx-vlm computes the steps of the audio tower and its embedder."""

from __future__ import annotations

from implementations.mlx_packages.at import At, Module
from implementations.mlx_vlm.views import CHANNELS_LAST, FIRST, HEADLESS, INVERTED

SOURCE, MODEL = Module("mlx_vlm.models.gemma3n.audio"), Module("mlx_vlm.models.gemma3n.gemma3n")

TOWER, SUBSAMPLE = "AudioModel.__call__", "Gemma3nAudioSubSampleConvProjection.__call__"
CONVOLUTION, CUMULATIVE = "Gemma3nAudioSSCPConvBlock.__call__", "Gemma3nCumulativeGroupNorm.__call__"
FEED_FORWARD, AROUND = "Gemma3nAudioConformerFeedForward.__call__", "Gemma3nAudioConformerAttention.__call__"
ATTENTION, POSITION = "Gemma3nAudioAttention.__call__", "Gemma3nAudioRelativePositionEmbedding.__call__"
LIGHT, BLOCK = "Gemma3nAudioConformerLightConv1d.__call__", "Gemma3nAudioConformerBlock.__call__"
EMBED, X = "Model.get_input_embeddings", "audio_encodings"

AROUND_BLOCKS = (
    At("audio.mel", SOURCE.parameter(TOWER, "audio_mel")),
    At("audio.mask", SOURCE.parameter(TOWER, "audio_mel_mask"), INVERTED),
    At("audio.{path}.conv", SOURCE.assigned(CONVOLUTION, "audio_encodings_conv")),
    At("audio.{path}.cum_mean", SOURCE.assigned(CUMULATIVE, "cum_mean")),
    At("audio.{path}.cum_variance", SOURCE.assigned(CUMULATIVE, "cum_variance")),
    At("audio.{path}.normed", SOURCE.assigned(CONVOLUTION, "x_normed")),
    At("audio.{path}.out", SOURCE.returned(CONVOLUTION), CHANNELS_LAST),
    At("audio.{path}.flattened", SOURCE.assigned(SUBSAMPLE, "output_flattened")),
    At("audio.{path}.out", SOURCE.assigned(SUBSAMPLE, "output")),
    At("audio.subsampled_mask", SOURCE.assigned(TOWER, "current_mask", 0), INVERTED),
    At("audio.reduced", SOURCE.assigned(TOWER, X, 2)),
    At("audio.reduced_mask", SOURCE.assigned(TOWER, "current_mask", 3), INVERTED),
    At("audio.out", SOURCE.assigned(TOWER, X, 3)),
    At("embed_audio.soft", MODEL.returned("Model.get_audio_features"), FIRST),
    At("embed_audio.padding", MODEL.assigned(EMBED, "audio_padding_embs")),
    At("embed_audio.soft_tokens", MODEL.assigned(EMBED, "audio_features", 2)),
)

FEED_FORWARD_STEPS = (
    At("audio.{path}.pre_layer_norm", SOURCE.assigned(FEED_FORWARD, "x", 1)),
    At("audio.{path}.ffw_layer_1", SOURCE.assigned(FEED_FORWARD, "x", 2)),
    At("audio.{path}.activation", SOURCE.assigned(FEED_FORWARD, "x", 3)),
    At("audio.{path}.ffw_layer_2", SOURCE.assigned(FEED_FORWARD, "x", 4)),
    At("audio.{path}.post_layer_norm", SOURCE.assigned(FEED_FORWARD, "x", 6)),
    At("audio.{path}.out", SOURCE.returned(FEED_FORWARD)),
)

ATTENTION_STEPS = (
    At("audio.{path}.pre_attn_norm", SOURCE.assigned(AROUND, "audio_encodings_norm")),
    At("audio.{path}.q_proj", SOURCE.assigned(ATTENTION, "query_states", 0)),
    At("audio.{path}.k_proj", SOURCE.assigned(ATTENTION, "key_states")),
    At("audio.{path}.v_proj", SOURCE.assigned(ATTENTION, "value_states")),
    At("audio.{path}.per_dim_scale", SOURCE.assigned(ATTENTION, "per_dim_scale_sp")),
    At("audio.{path}.q_scaled", SOURCE.assigned(ATTENTION, "query_states", 1)),
    At("audio.{path}.q_blocks", SOURCE.assigned(ATTENTION, "query_blocks")),
    At("audio.{path}.k_blocks", SOURCE.assigned(ATTENTION, "key_blocks")),
    At("audio.{path}.v_blocks", SOURCE.assigned(ATTENTION, "value_blocks")),
    At("audio.{path}.mask", SOURCE.assigned(ATTENTION, "final_condition_for_where"), HEADLESS),
    At("audio.{path}.timing_signal", SOURCE.assigned(POSITION, "sin_emb_timing_signal")),
    At("audio.{path}.pos_proj", SOURCE.assigned(POSITION, "sin_emb")),
    At("audio.{path}.content", SOURCE.assigned(POSITION, "term_ac")),
    At("audio.{path}.position", SOURCE.assigned(POSITION, "term_bd_unshifed")),
    At("audio.{path}.position_shifted", SOURCE.assigned(POSITION, "term_bd_shifted")),
    At("audio.{path}.scores", SOURCE.assigned(ATTENTION, "logits", 0)),
    At("audio.{path}.logits", SOURCE.assigned(ATTENTION, "logits", 3)),
    At("audio.{path}.probabilities", SOURCE.assigned(ATTENTION, "probabilities")),
    At("audio.{path}.context", SOURCE.returned(ATTENTION)),
    At("audio.{path}.post", SOURCE.assigned(AROUND, "x", 1)),
    At("audio.{path}.out", SOURCE.returned(AROUND)),
)

LIGHT_STEPS = (
    At("audio.{path}.masked", SOURCE.assigned(BLOCK, "audio_encodings_for_lconv_input")),
    At("audio.{path}.pre_layer_norm", SOURCE.assigned(LIGHT, X, 0)),
    At("audio.{path}.linear_start", SOURCE.assigned(LIGHT, X, 1)),
    At("audio.{path}.glu", SOURCE.assigned(LIGHT, X, 2)),
    At("audio.{path}.depthwise_conv1d", SOURCE.assigned(LIGHT, X, 3)),
    At("audio.{path}.conv_norm", SOURCE.assigned(LIGHT, X, 5)),
    At("audio.{path}.activation", SOURCE.assigned(LIGHT, X, 6)),
    At("audio.{path}.linear_end", SOURCE.assigned(LIGHT, X, 7)),
    At("audio.{path}.out", SOURCE.assigned(LIGHT, "output")),
    At("audio.{path}.out", SOURCE.returned(BLOCK)),
)

AUDIO_STEPS = (*AROUND_BLOCKS, *FEED_FORWARD_STEPS, *ATTENTION_STEPS, *LIGHT_STEPS)
