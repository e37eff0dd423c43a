"""A ``config.json`` as files are published: transformers 5 renamed keys and dropped others that other packages read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORMER: Mapping[str, str] = {
    "n_ctx": "max_position_embeddings",
    "block_dim": "hidden_size",
    "block_ff_dim": "intermediate_size",
    "rotary_pct": "partial_rotary_factor",
    "rotary_emb_base": "rope_theta",
}
"""What keys of today were called in files that are published."""
DROPPED: Mapping[str, Any] = {
    "mlp_bias": False,
    "post_norm": False,
    "qk_norm": True,
    "shared_intermediate_size": 0,
    "first_k_dense_replace": 0,
    "moe_layer_freq": 1,
    "partial_rotary_factor": 1.0,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "rope_theta": 10000.0,
    "attention_method": "MLA",
    "zero_expert_type": "identity",
    "mla_scale_q_lora": True,
    "mla_scale_kv_lora": True,
}
"""Keys that transformers no longer has, with the one value that it computes."""


def completed(config: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """A ``config.json`` with the keys of before transformers 5 beside those of today.

    Args:
        config: as transformers wrote it.
        aliases: other names of its keys, as the configuration's class knows them.
    """
    found = dict(config) | {alias: config[key] for alias, key in aliases.items() if key in config}
    heads, hidden = found.get("num_attention_heads"), found.get("hidden_size")
    if heads and hidden and hidden % heads == 0:
        found.setdefault("head_dim", hidden // heads)
    found = {**_rotary(found.get("rope_parameters") or {}), **found}
    found = {**found, **_layers(found)}
    found = {**_sizes(found), **found}
    found = {**{former: found[key] for former, key in FORMER.items() if key in found}, **found}
    return {**DROPPED, **found}


def _rotary(rotary: Mapping[str, Any]) -> dict[str, Any]:
    """What one object says of rotary embeddings, in keys of the configuration itself."""
    full, sliding = rotary.get("full_attention", rotary), rotary.get("sliding_attention", {})
    found = {key: full[key] for key in ("rope_theta", "partial_rotary_factor") if key in full}
    if "rope_theta" in sliding:
        found["rope_local_base_freq"] = found["swa_rope_theta"] = sliding["rope_theta"]
    if full is rotary:  # of several kinds of layer it would be read in place of all
        scaled = full.get("rope_type", "default") != "default"
        found["rope_scaling"] = {**full, "type": full["rope_type"]} if scaled else None
    return found


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes that others make."""
    found: dict[str, Any] = {}
    if "expand" in config:  # of a recurrence, whose values are so many times wider
        found["intermediate_size"] = config["expand"] * config["hidden_size"]
    if "intermediate_size" not in config and "moe_intermediate_size" in config:  # no layer is without experts
        found["intermediate_size"] = config["moe_intermediate_size"]
    if config.get("head_dim"):
        found["rotary_dim"] = int(config["head_dim"] * config.get("partial_rotary_factor", 1.0))
    return found


def _layers(config: Mapping[str, Any]) -> dict[str, Any]:
    """What lists of the layers' kinds say, in the other forms that it had."""
    found: dict[str, Any] = {}
    kinds, experts = config.get("layer_types") or [], config.get("mlp_layer_types") or []
    if "mamba_d_state" in config and "linear_attention" in kinds:
        found["layer_types"] = ["attention" if kind == "full_attention" else "mamba" for kind in kinds]
    if "full_attention" in kinds:
        found["sliding_window_pattern"] = kinds.index("full_attention") + 1
        found["full_attn_idxs"] = [at for at, kind in enumerate(kinds) if kind == "full_attention"]
    if "linear_num_heads" in config:
        found["linear_attn_config"] = {
            "kda_layers": [at for at, kind in enumerate(kinds, 1) if kind == "linear_attention"],
            "full_attn_layers": [at for at, kind in enumerate(kinds, 1) if kind == "full_attention"],
            "num_heads": config["linear_num_heads"],
            "head_dim": config["linear_head_dim"],
            "short_conv_kernel_size": config["linear_conv_kernel_dim"],
        }
    if experts:
        found["is_moe_layer"] = [kind == "sparse" for kind in experts]
        found["first_k_dense_replace"] = experts.index("sparse") if "sparse" in experts else len(experts)
    wide = [layer.get("head_dim") for layer in (config.get("per_layer_config") or {}).values()]
    return found | ({"global_head_dim": wide[0]} if any(wide) else {})
