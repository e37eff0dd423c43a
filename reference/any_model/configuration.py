"""Configurations of small checkpoints: sizes that tell axes apart, and the keys that both sides want."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from parity.checkpoint import config_of
from parity.errors import UsageError

SIZES: Mapping[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 120,
    "intermediate_size": 176,
    "num_hidden_layers": 5,
    "num_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 20,
    "rotary_dim": 8,
    "max_position_embeddings": 512,
    "sliding_window": 23,
    "attention_window_size": 23,
    "attention_chunk_size": 23,
    "sliding_window_pattern": 3,
    "hidden_size_per_layer_input": 24,
    "vocab_size_per_layer_input": 320,
    "moe_intermediate_size": 56,
    "intermediate_size_mlp": 104,
    "shared_intermediate_size": 104,
    "shared_expert_intermediate_size": 88,
    "moe_shared_expert_intermediate_size": 88,
    "num_experts": 9,
    "num_local_experts": 9,
    "n_routed_experts": 9,
    "zero_expert_num": 3,
    "num_experts_per_tok": 4,
    "num_experts_per_token": 4,
    "moe_topk": 4,
    "n_shared_experts": 1,
    "n_group": 3,
    "num_expert_group": 3,
    "topk_group": 2,
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    "num_nextn_predict_layers": 0,
    "q_lora_rank": 44,
    "kv_lora_rank": 36,
    "qk_nope_head_dim": 14,
    "qk_rope_head_dim": 8,
    "v_head_dim": 18,
    "index_head_dim": 16,
    "index_n_heads": 4,
    "expand": 2,
    "num_heads": 12,
    "state_size": 10,
    "n_groups": 2,
    "ssm_state_size": 10,
    "mamba_num_heads": 12,
    "mamba_head_dim": 20,
    "mamba_n_heads": 12,
    "mamba_d_head": 20,
    "mamba_d_ssm": 240,
    "mamba_d_state": 10,
    "mamba_n_groups": 2,
    "mamba_dt_rank": 11,
    "time_step_rank": 11,
    "use_mamba_kernels": False,
    "position_embedding_type": "rope",
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_num_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 22,
    "linear_head_dim": 16,
    "layer_group_size": 3,
    "lru_width": 120,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
"""Of each key that a configuration has. No two axes have the same size, and a head is a part of the hidden size, for
architectures that do not say how large one is; so are the heads of a recurrence, of twice the hidden size. A window is
wider than the prompts that a table is learned of, and narrower than those of the scenario that is to cross it."""
KINDS = (
    "num_hidden_layers",
    "num_layers",
    "sliding_window_pattern",
    "first_k_dense_replace",
    "num_dense_layers",
    "layer_group_size",
)
"""Of these, the keys that say which layers there are: places of a table are in layers, so a reduced model has all."""
OTHER_SENSES = {"vision_config", "audio_config"}
"""Parts of a configuration that say that a model has more than text."""
GROUPS = {"n_groups", "mamba_n_groups"}
"""Of a recurrence; where there is usually one, some ports know no others."""
ROTARY = 0.4
"""The part of a head that is rotated, where not all of it is: 8 of 20 numbers, an even count."""


def of_text() -> list[str]:
    """Types of language model whose configuration has no part for pictures or sounds."""
    known = [name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if name in CONFIG_MAPPING]
    return [name for name in known if not OTHER_SENSES & CONFIG_MAPPING[name].sub_configs.keys()]


def small(model_type: str) -> PreTrainedConfig:
    """The configuration of a small checkpoint.

    Raises:
        UsageError: for a type that transformers does not have, or whose configuration refuses the sizes.
    """
    try:
        usual = AutoConfig.for_model(model_type)
        found = usual.to_dict()
        names = found.keys() | usual.attribute_map.keys() | {key for key in SIZES if f"_{key}" in vars(usual)}
        known = {key: value for key, value in SIZES.items() if key in names}
        return AutoConfig.for_model(model_type, **_fitting(known, found))
    except Exception as error:  # configurations raise many unrelated types
        raise _refused(model_type, error) from error


def _fitting(sizes: dict[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes that fit each other as they do in the usual configuration."""
    found = {key: 1 if key in GROUPS and usual.get(key) == 1 else value for key, value in sizes.items()}
    if "kv_lora_rank" in sizes:  # keys of all heads are made of one latent
        found["num_key_value_heads"] = sizes["num_attention_heads"]
    if "qk_rope_head_dim" in sizes and usual.get("head_dim") == usual["qk_rope_head_dim"]:
        found["head_dim"] = sizes["qk_rope_head_dim"]
    if usual.get("linear_num_key_heads") and usual["linear_num_key_heads"] == usual.get("linear_num_value_heads"):
        found["linear_num_key_heads"] = sizes["linear_num_value_heads"]
    if "v_head_dim" in sizes and usual["v_head_dim"] * usual["num_attention_heads"] == usual["hidden_size"]:
        found["v_head_dim"] = sizes["hidden_size"] // sizes["num_attention_heads"]
    if usual.get("hidden_size") and usual.get("intermediate_size") == 4 * usual["hidden_size"]:
        found["intermediate_size"] = 4 * sizes["hidden_size"]  # some ports know no other
    if usual.get("rope_parameters"):
        found["rope_parameters"] = _rotated(usual["rope_parameters"])
    if "conv_L_cache" in usual:  # short convolutions between layers with attention, which no default says
        found["layer_types"] = ["conv", "conv", "full_attention", "conv", "full_attention"]
    if set(usual.get("layer_types") or ()) == {"linear_attention"}:
        found["layer_types"] = ["linear_attention", "linear_attention", "full_attention"] + ["linear_attention"] * 2
    if wide := [layer["head_dim"] for layer in (usual.get("per_layer_config") or {}).values() if "head_dim" in layer]:
        last = f"{sizes['num_hidden_layers'] - 1:02}"  # the layer that sees all, behind those with a window
        found["per_layer_config"] = {last: {"head_dim": sizes["head_dim"] * wide[0] // usual["head_dim"]}}
    return found


def _rotated(rotary: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of rotary embeddings, of one kind of layer or of several, with an even part of a head."""
    found = {key: _rotated(value) if isinstance(value, dict) else value for key, value in rotary.items()}
    if "partial_rotary_factor" in rotary and rotary["partial_rotary_factor"] < 1:
        found["partial_rotary_factor"] = ROTARY
    return found


def reduced(checkpoint: Path) -> PreTrainedConfig:
    """A checkpoint's configuration in small sizes: it has as many layers, of the same kinds.

    Raises:
        UsageError: for one that transformers does not read, or that refuses the sizes.
    """
    data = config_of(checkpoint)
    sizes = {key: value for key, value in SIZES.items() if key in data and key not in KINDS}
    try:
        return AutoConfig.for_model(**{**data, **sizes})
    except Exception as error:  # configurations raise many unrelated types
        raise _refused(str(data.get("model_type")), error) from error


def _refused(model_type: str, error: Exception) -> UsageError:
    reason = " ".join(str(error).split())[:200]
    return UsageError(f"model type {model_type!r}: transformers makes no small configuration ({reason})")
