"""Configurations of drawn checkpoints: nearly every architecture accepts the sizes, and files say it in all forms."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

from parity.errors import UsageError
from reference.any_model.configuration import of_text, small
from reference.any_model.published import completed


def test_nearly_every_architecture_of_text_has_a_small_configuration():
    """No list was written by hand: 170 of 175 with transformers 5.23."""
    types, refused = of_text(), []
    for model_type in types:
        try:
            small(model_type)
        except UsageError:
            refused.append(model_type)
    assert len(types) > 150
    assert len(refused) < 10
    assert not {"gemma3n", "llava", "qwen2_audio"} & set(types)
    assert {"llama", "deepseek_v3", "mamba2", "qwen3_next"} <= set(types) - set(refused)


@pytest.mark.parametrize(
    ("model_type", "wanted"),
    [
        ("qwen3", {"num_key_value_heads": 3, "head_dim": 20}),
        ("deepseek_v3", {"num_key_value_heads": 6, "head_dim": 8, "kv_lora_rank": 36}),
        ("minicpm3", {"v_head_dim": 20}),
        ("gpt_neox", {"intermediate_size": 480}),
        ("olmo_hybrid", {"linear_num_key_heads": 4, "linear_num_value_heads": 4}),
        ("qwen3_next", {"linear_num_key_heads": 2, "linear_num_value_heads": 4}),
        ("granitemoehybrid", {"mamba_n_groups": 1}),
        ("mamba2", {"n_groups": 2}),
        ("lfm2_moe", {"num_dense_layers": 1}),
    ],
)
def test_sizes_fit_each_other(model_type, wanted):
    """As they do in the usual configuration."""
    config = small(model_type)
    assert {key: getattr(config, key) for key in wanted} == wanted


def test_a_part_of_a_head_that_is_rotated_is_even():
    assert small("stablelm").rope_parameters["partial_rotary_factor"] == 0.4
    assert small("llama").rope_parameters.get("partial_rotary_factor") is None


def test_a_file_has_the_keys_of_before():
    """Beside those of today, and what is there is not replaced."""
    rotary = {"rope_type": "default", "rope_theta": 5e5, "partial_rotary_factor": 0.5}
    found = completed({"num_attention_heads": 6, "hidden_size": 120, "mlp_bias": True, "rope_parameters": rotary}, {})
    assert found["head_dim"] == 20
    assert found["rope_theta"] == found["rotary_emb_base"] == 5e5
    assert found["rotary_pct"] == 0.5
    assert found["rotary_dim"] == 10
    assert found["rope_scaling"] is None
    assert found["mlp_bias"] is True


def test_rotary_embeddings_of_several_kinds_have_no_one_scaling():
    """A file that said so would be read as if all layers had it."""
    kinds = {"full_attention": {"rope_theta": 1e6, "rope_type": "yarn"}, "sliding_attention": {"rope_theta": 1e4}}
    found = completed({"rope_parameters": kinds, "layer_types": ["sliding_attention", "full_attention"]}, {})
    assert "rope_scaling" not in found
    assert (found["rope_theta"], found["rope_local_base_freq"], found["sliding_window_pattern"]) == (1e6, 1e4, 2)


def test_layers_are_said_in_the_words_of_before():
    config = {"layer_types": ["linear_attention", "full_attention"], "mlp_layer_types": ["dense", "sparse"]}
    assert completed(config | {"mamba_d_state": 10}, {})["layer_types"] == ["mamba", "attention"]
    found = completed(config, {})
    assert found["layer_types"] == config["layer_types"]
    assert (found["is_moe_layer"], found["first_k_dense_replace"]) == ([False, True], 1)
