"""Geometry of the embedded checkpoint, and its config.json and generation_config.json.

The JSON is spelled out instead of being saved by transformers, so that its bytes do not depend on the installed
version, and so that it has the keys of published checkpoints (`rope_theta`, not `rope_parameters`).
"""

from typing import Any, Final

from reference.common.pictures import SIDE

JsonObject = dict[str, Any]

# Vocabulary: text ids, then vision ids, then audio ids; the same structure as the published 262144 + 128 + 128.
TEXT_VOCAB: Final = 512
MODALITY_VOCAB: Final = 128
VISION_OFFSET: Final = TEXT_VOCAB
AUDIO_OFFSET: Final = TEXT_VOCAB + MODALITY_VOCAB
VOCAB: Final = TEXT_VOCAB + 2 * MODALITY_VOCAB

PAD, EOS, BOS, UNK, MASK, START_OF_TURN, END_OF_TURN, START_OF_IMAGE, START_OF_AUDIO = range(9)
END_OF_IMAGE, IMAGE_TOKEN = VISION_OFFSET, VISION_OFFSET + 1
END_OF_AUDIO, AUDIO_TOKEN = AUDIO_OFFSET, AUDIO_OFFSET + 1

# llama.cpp hard-codes, whatever the file says: laurel_rank 64, hidden_size_per_layer_input 256, four AltUp streams with
# active index 0, sparsity 0.95 on the first ten layers, KV sharing from layer 20, soft-cap 30, full attention every
# fifth layer. The text tower keeps these and shrinks the rest.
LAYERS: Final = 25
KV_SHARED_LAYERS: Final = 5
SPARSE_LAYERS: Final = 10
HIDDEN: Final = 128
HEAD_DIM: Final = 32
KV_HEADS: Final = 2
SLIDING_WINDOW: Final = 16
MAX_POSITIONS: Final = 1024

# 192 pixels give 12 x 12 at stride 16, pooled by 3 to 4 x 4: the published 768 give 48 x 48, pooled by 3 to 16 x 16.
IMAGE_SIZE: Final = SIDE
VISION_RESOLUTION: Final = 4
IMAGE_TOKENS: Final = VISION_RESOLUTION**2
# One soft token per 16 mel frames of 10 ms: 32 tokens are 5.12 s of audio (published: 188 tokens, 30 s).
AUDIO_TOKENS: Final = 32


def layer_types() -> list[str]:
    """Return the kind of attention of each text layer: full every fifth, sliding else."""
    return ["full_attention" if (index + 1) % 5 == 0 else "sliding_attention" for index in range(LAYERS)]


def text_config() -> JsonObject:
    """Return `text_config`: 25 layers of width 128, the last five reading keys and values of layers 18 and 19."""
    return {
        "activation_sparsity_pattern": [0.95] * SPARSE_LAYERS + [0.0] * (LAYERS - SPARSE_LAYERS),
        "altup_active_idx": 0,
        "altup_coef_clip": 120.0,
        "altup_correct_scale": True,
        "altup_num_inputs": 4,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "final_logit_softcapping": 30.0,
        "head_dim": HEAD_DIM,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": HIDDEN,
        "hidden_size_per_layer_input": 256,
        "initializer_range": 0.02,
        "intermediate_size": [256] * LAYERS,
        "laurel_rank": 64,
        "layer_types": layer_types(),
        "max_position_embeddings": MAX_POSITIONS,
        "model_type": "gemma3n_text",
        "num_attention_heads": 4,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "num_kv_shared_layers": KV_SHARED_LAYERS,
        "pad_token_id": PAD,
        "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000.0,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "sliding_window": SLIDING_WINDOW,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": VOCAB,
        "vocab_size_per_layer_input": TEXT_VOCAB,
    }


def vision_config() -> JsonObject:
    """Return `vision_config`: all 84 blocks of MobileNet-V5 300M at a sixteenth of their channels."""
    return {
        "architecture": "mobilenetv5_300m_enc",
        "do_pooling": False,
        "hidden_size": 2048,  # hard-coded in timm: the fusion adapter's output width
        "initializer_range": 0.02,
        "model_args": {"channel_multiplier": 0.0625, "msfa_output_resolution": VISION_RESOLUTION},
        "model_type": "gemma3n_vision",
        "num_classes": 2,
        "rms_norm_eps": 1e-06,
        "torch_dtype": "bfloat16",
        "vocab_offset": VISION_OFFSET,
        "vocab_size": MODALITY_VOCAB,
    }


def audio_config() -> JsonObject:
    """Return `audio_config`: three conformer blocks of width 64 behind the published subsampling convolutions."""
    return {
        "conf_attention_chunk_size": 12,
        "conf_attention_context_left": 13,
        "conf_attention_context_right": 0,
        "conf_attention_logit_cap": 50.0,
        "conf_conv_kernel_size": 5,
        "conf_num_attention_heads": 4,
        "conf_num_hidden_layers": 3,
        "conf_reduction_factor": 4,
        "conf_residual_weight": 0.5,
        "gradient_clipping": 10000000000.0,
        "hidden_size": 64,
        "input_feat_size": 128,
        "model_type": "gemma3n_audio",
        "rms_norm_eps": 1e-06,
        "sscp_conv_channel_size": [128, 32],
        "sscp_conv_group_norm_eps": 0.001,
        "sscp_conv_kernel_size": [[3, 3], [3, 3]],
        "sscp_conv_stride_size": [[2, 2], [2, 2]],
        "torch_dtype": "bfloat16",
        "vocab_offset": AUDIO_OFFSET,
        "vocab_size": MODALITY_VOCAB,
    }


def config() -> JsonObject:
    """Return the whole config.json."""
    return {
        "architectures": ["Gemma3nForConditionalGeneration"],
        "audio_config": audio_config(),
        "audio_soft_tokens_per_image": AUDIO_TOKENS,
        "audio_token_id": AUDIO_TOKEN,
        "boa_token_id": START_OF_AUDIO,
        "boi_token_id": START_OF_IMAGE,
        "eoa_token_id": END_OF_AUDIO,
        "eoi_token_id": END_OF_IMAGE,
        "eos_token_id": [EOS, END_OF_TURN],
        "image_token_id": IMAGE_TOKEN,
        "initializer_range": 0.02,
        "model_type": "gemma3n",
        "text_config": text_config(),
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "vision_config": vision_config(),
        "vision_soft_tokens_per_image": IMAGE_TOKENS,
    }


def generation_config() -> JsonObject:
    """Return generation_config.json: greedy, stopping at end of sequence or end of turn."""
    return {"bos_token_id": BOS, "do_sample": False, "eos_token_id": [EOS, END_OF_TURN], "pad_token_id": PAD}
