"""The header's keys of a language model."""

from __future__ import annotations

from statistics import NormalDist

from gguf import GGML_QUANT_VERSION, GGUFWriter, LlamaFileType, RopeScalingType

from implementations.gemma3n.config import TextConfig
from implementations.gemma3n.rope import FULL, SLIDING

ARCHITECTURE = "gemma3n"


def describe(writer: GGUFWriter, text: TextConfig, kind: LlamaFileType, name: str) -> None:
    """Add what a configuration says.

    Args:
        writer: of the file.
        text: the configuration.
        kind: what the file's number type is called.
        name: of the model.
    """
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(kind)
    writer.add_quantization_version(GGML_QUANT_VERSION)
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_feed_forward_length(text.intermediate_size[0])
    writer.add_vocab_size(text.vocab_size)
    if text.final_logit_softcapping is not None:
        writer.add_final_logit_softcapping(text.final_logit_softcapping)
    _describe_attention(writer, text)
    _describe_streams(writer, text)


def _describe_attention(writer: GGUFWriter, text: TextConfig) -> None:
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_key_length(text.head_dim)
    writer.add_value_length(text.head_dim)
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_rope_freq_base(text.ropes[FULL].theta)
    writer.add_rope_freq_base_swa(text.ropes[SLIDING].theta)
    if (factor := text.ropes[FULL].factor) != 1:  # llama.cpp divides positions of full layers alone, as the reference
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(factor)
    writer.add_sliding_window(text.sliding_window)
    writer.add_sliding_window_pattern([kind == SLIDING for kind in text.layer_types])
    writer.add_shared_kv_layers(text.num_kv_shared_layers)


def _describe_streams(writer: GGUFWriter, text: TextConfig) -> None:
    writer.add_altup_active_idx(text.altup_active_idx)
    writer.add_altup_num_inputs(text.altup_num_inputs)
    writer.add_embedding_length_per_layer_input(text.hidden_size_per_layer_input)
    # How many standard deviations above the mean a gate must be to stay; a dense layer has no such number.
    normal = NormalDist()
    scales = [normal.inv_cdf(share) if share else float("-inf") for share in text.activation_sparsity_pattern]
    writer.add_activation_sparsity_scale(scales)
