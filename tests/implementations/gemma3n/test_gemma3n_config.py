"""The configuration: what published and transformers' files say is read, what cannot run is refused in one line."""

import copy
import json

import numpy as np
import pytest

from implementations.gemma3n.config import Config
from implementations.gemma3n.rope import FULL, SLIDING, Rope
from implementations.gemma3n.weight_names import ignored, require_names
from parity.errors import UsageError
from reference.tiny import path

EMBEDDED = json.loads((path() / "config.json").read_text())
MINIMAL = {"model_type": "gemma3n", "text_config": {}, "vision_config": {}, "audio_config": {}}


def changed(**text):
    """The embedded configuration with other fields in `text_config`; None removes one."""
    data = copy.deepcopy(EMBEDDED)
    data["text_config"] |= text
    data["text_config"] = {name: value for name, value in data["text_config"].items() if value is not None}
    return data


def test_the_embedded_checkpoint_is_read():
    config = Config.from_directory(path())
    assert config.text.hidden_size == 128
    assert config.text.ropes == {FULL: Rope(1_000_000.0), SLIDING: Rope(10_000.0)}
    assert config.vision.last_id == 639
    assert config.audio.vocab_offset == 640


def test_defaults_are_those_of_the_published_model():
    text = Config.from_json(MINIMAL).text
    assert (text.vocab_size, text.hidden_size, text.num_hidden_layers, text.head_dim) == (262_400, 2048, 35, 256)
    assert text.intermediate_size == (16_384,) * 35
    assert text.layer_types[3:6] == (SLIDING, FULL, SLIDING)
    assert text.activation_sparsity_pattern[9:11] == (0.95, 0.0)
    assert (text.donor(20), text.donor(24), text.donor(7)) == (18, 19, 7)


def test_transformers_reads_the_same():
    transformers = pytest.importorskip("transformers")
    theirs, ours = transformers.Gemma3nConfig().text_config, Config.from_json(MINIMAL).text
    fields = ("layer_types", "intermediate_size", "activation_sparsity_pattern")
    assert {name: tuple(getattr(theirs, name)) for name in fields} == {name: getattr(ours, name) for name in fields}
    plain = [name for name, value in vars(ours).items() if isinstance(value, int | float | str)]
    assert {name: getattr(theirs, name) for name in plain} == {name: getattr(ours, name) for name in plain}


def test_shared_layers_and_donors():
    text = Config.from_directory(path()).text
    assert [layer for layer in range(25) if not text.owns_keys(layer)] == [20, 21, 22, 23, 24]
    assert [text.donor(layer) for layer in (0, 4, 18, 19, 20, 23, 24)] == [0, 4, 18, 19, 18, 18, 19]


def test_without_sharing_every_layer_is_its_own_donor():
    text = Config.from_json(changed(num_kv_shared_layers=0)).text
    assert all(text.owns_keys(layer) and text.donor(layer) == layer for layer in range(25))


def test_one_width_serves_all_layers():
    assert Config.from_json(changed(intermediate_size=256)).text.intermediate_size == (256,) * 25


@pytest.mark.parametrize(
    ("fields", "full", "sliding"),
    [
        ({"rope_theta": 5e5}, Rope(5e5), Rope(1e4)),
        ({"rope_local_base_freq": 2e4}, Rope(1e6), Rope(2e4)),
        ({"rope_theta": None, "rope_local_base_freq": None}, Rope(1e6), Rope(1e4)),
        ({"rope_scaling": {"rope_type": "linear", "factor": 8}}, Rope(1e6, 8.0), Rope(1e4)),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, Rope(1e6), Rope(1e4)),  # not heard by transformers
        ({"rope_parameters": {FULL: {"type": "linear", "factor": 4.0}, SLIDING: None}}, Rope(1e6, 4.0), Rope(1e4)),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 99.0}}, Rope(1e6), Rope(1e4)),
        (
            {
                "rope_parameters": {FULL: {"rope_theta": 7.0}, SLIDING: {"rope_theta": 8.0}},
                "rope_theta": 5.0,
                "rope_local_base_freq": 6.0,
                "rope_scaling": {"rope_type": "linear", "factor": 2},
            },
            Rope(7.0, 2.0),
            Rope(8.0),
        ),
        ({"rope_parameters": {FULL: {"rope_type": "default", "rope_theta": 7.0}}}, Rope(7.0), Rope(1e4)),
        (
            {"rope_parameters": {SLIDING: {"rope_type": "linear", "rope_theta": 3.0, "factor": 4.0}}},
            Rope(1e6),
            Rope(3.0, 4.0),
        ),
    ],
)
def test_rope_of_each_layer_type(fields, full, sliding):
    """Old keys and new, as transformers reads them; scaling by the old key is for full attention alone."""
    transformers = pytest.importorskip("transformers")
    from transformers.models.gemma3n.modeling_gemma3n import Gemma3nRotaryEmbedding

    data = changed(**fields)
    ropes = Config.from_json(data).text.ropes
    assert ropes == {FULL: full, SLIDING: sliding}
    theirs = Gemma3nRotaryEmbedding(transformers.Gemma3nTextConfig(**data["text_config"]))
    for kind, rope in ropes.items():
        expected = getattr(theirs, f"{kind}_inv_freq").numpy()
        np.testing.assert_allclose(rope.inverse_frequencies(32), expected, rtol=1e-6)


def test_inverse_frequencies():
    table = Rope(10_000.0, 2.0).inverse_frequencies(8)
    np.testing.assert_allclose(table, np.array([1, 0.1, 0.01, 0.001]) / 2, rtol=1e-7)
    assert table.dtype == np.float32


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "yarn"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "positive"),
        ({"rope_scaling": {"rope_type": "linear"}}, "RoPE of full_attention"),
        ({"rope_scaling": 8}, "rope_scaling is 8, no object"),
        ({"rope_parameters": [1]}, "rope_parameters is [1], no object"),
        ({"rope_parameters": {SLIDING: {"rope_theta": 8.0}}, "rope_scaling": {}}, "which rope_parameters lacks"),
        ({"rope_theta": "big"}, "RoPE of full_attention"),
        ({"hidden_activation": "gelu"}, "gelu_pytorch_tanh"),
        ({"intermediate_size": [256] * 24}, "24 entries for 25 layers"),
        ({"layer_types": [SLIDING] * 3}, "3 entries"),
        ({"layer_types": ["linear_attention"] * 25}, "linear_attention"),
        ({"layer_types": [SLIDING] * 24 + [FULL]}, "no layer of that type"),
        ({"activation_sparsity_pattern": [0.0] * 26}, "26 entries"),
        ({"activation_sparsity_pattern": [1.0] * 25}, "not in [0, 1)"),
        ({"num_kv_shared_layers": 25}, "at least one"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_attention_heads": 3}, "3 query heads for 2"),
        ({"head_dim": 31}, "odd"),
        ({"hidden_size": "128"}, "hidden_size is '128', not int"),
        ({"altup_active_idx": 4}, "AltUp stream 4"),
        ({"sliding_window": 0}, "sliding_window"),
        ({"intermediate_size": 0}, "intermediate_size[0]"),
    ],
)
def test_what_cannot_run_is_refused(fields, said):
    with pytest.raises(UsageError) as raised:
        Config.from_json(changed(**fields))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({**EMBEDDED, "model_type": "gemma3"}, "'gemma3'"),
        ({**EMBEDDED, "model_type": None}, "None"),
        ({"model_type": "gemma3n"}, "text_config is missing"),
        ({**EMBEDDED, "audio_config": 3}, "audio_config is missing"),
    ],
)
def test_other_models_are_refused(data, said):
    with pytest.raises(UsageError, match=said):
        Config.from_json(data)


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_file_that_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UsageError, match=r"config\.json"):
        Config.from_directory(tmp_path)


def test_ignored_tensors_are_those_of_towers_and_shared_layers():
    prefixes = tuple(ignored(Config.from_directory(path()).text))
    attention = "model.language_model.layers.{}.self_attn.{}.weight"
    assert attention.format(20, "k_proj").startswith(prefixes)
    assert not attention.format(19, "k_proj").startswith(prefixes)
    assert not attention.format(20, "q_proj").startswith(prefixes)
    assert "model.vision_tower.x".startswith(prefixes)
    assert not "model.embed_vision.embedding.weight".startswith(prefixes)


def test_missing_and_unknown_names_are_named(tmp_path):
    with pytest.raises(UsageError, match="lacks b and 1 more"):
        require_names(["a"], ["a", "b", "c"], tmp_path)
    with pytest.raises(UsageError, match="unknown tensor z"):
        require_names(["a", "z"], ["a"], tmp_path)
