"""Configurations of small checkpoints: sizes that tell axes apart, and the keys that both sides want."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from parity.checkpoint import config_of
from parity.errors import UsageError

SIZES: Mapping[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 120,
    "intermediate_size": 176,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 20,
    "max_position_embeddings": 512,
    "sliding_window": 7,
    "sliding_window_pattern": 3,
    "moe_intermediate_size": 56,
    "shared_expert_intermediate_size": 88,
    "num_experts": 9,
    "num_local_experts": 9,
    "n_routed_experts": 9,
    "num_experts_per_tok": 4,
    "n_shared_experts": 1,
    "n_group": 3,
    "topk_group": 2,
    "first_k_dense_replace": 1,
    "q_lora_rank": 44,
    "kv_lora_rank": 36,
    "qk_nope_head_dim": 14,
    "qk_rope_head_dim": 8,
    "v_head_dim": 18,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
"""Of each key that a configuration has. No two axes have the same size, and a head is a part of the hidden size, for
architectures that do not say how large one is."""
KINDS = ("num_hidden_layers", "sliding_window_pattern", "first_k_dense_replace")
"""Of these, the keys that say which layers there are: places of a table are in layers, so a reduced model has all."""


def small(model_type: str) -> PreTrainedConfig:
    """The configuration of a small checkpoint.

    Raises:
        UsageError: for a type that transformers does not have, or whose configuration refuses the sizes.
    """
    try:
        usual = AutoConfig.for_model(model_type)
        known = {key: value for key, value in SIZES.items() if _has(usual, key)}
        return AutoConfig.for_model(model_type, **known)
    except Exception as error:  # configurations raise many unrelated types
        raise _refused(model_type, error) from error


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


def _has(config: PreTrainedConfig, key: str) -> bool:
    """Whether a configuration has a key; that of a pattern it keeps to itself."""
    return hasattr(config, key) or hasattr(config, f"_{key}")


def completed(config: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """A ``config.json`` with the keys of before transformers 5 beside those of today, which other packages read.

    Args:
        config: as transformers wrote it.
        aliases: other names of its keys, as the configuration's class knows them.
    """
    found = dict(config) | {alias: config[key] for alias, key in aliases.items() if key in config}
    heads, hidden = found.get("num_attention_heads"), found.get("hidden_size")
    if heads and hidden and hidden % heads == 0:
        found.setdefault("head_dim", hidden // heads)
    rotary = found.get("rope_parameters") or {}
    full, sliding = rotary.get("full_attention", rotary), rotary.get("sliding_attention", {})
    if "rope_theta" in full:
        found.setdefault("rope_theta", full["rope_theta"])
    if "partial_rotary_factor" in full:
        found.setdefault("partial_rotary_factor", full["partial_rotary_factor"])
    if "rope_theta" in sliding:
        found.setdefault("rope_local_base_freq", sliding["rope_theta"])
    kinds = found.get("layer_types") or []
    if "full_attention" in kinds:
        found.setdefault("sliding_window_pattern", kinds.index("full_attention") + 1)
    return found
