"""The audio tower's configuration: defaults are the published model's, and what cannot run is refused in one line."""

from __future__ import annotations

import pytest

from implementations.gemma3n.audio_config import AudioConfig
from implementations.gemma3n.config import Config
from parity.errors import UsageError
from reference.tiny import path


def test_defaults_are_those_of_the_published_model():
    config = AudioConfig.from_json({})
    assert (config.hidden_size, config.conf_num_hidden_layers, config.head_dim) == (1536, 12, 192)
    assert (config.past, config.conf_attention_context_right, config.bands) == (12, 0, (64, 32))
    assert config.sscp_conv_stride_size == ((2, 2), (2, 2))


def test_transformers_has_the_same_defaults():
    theirs = pytest.importorskip("transformers").Gemma3nAudioConfig()
    assert {name: getattr(theirs, name) for name in vars(AudioConfig())} == vars(AudioConfig())


def test_the_embedded_checkpoint_is_read():
    audio = Config.from_directory(path()).audio
    assert (audio.hidden_size, audio.conf_num_attention_heads, audio.conf_num_hidden_layers) == (64, 4, 3)
    assert audio.sscp_conv_channel_size == (128, 32)
    assert audio.sscp_conv_kernel_size == ((3, 3), (3, 3))
    assert isinstance(hash(audio), int)


def test_one_kernel_serves_both_convolutions_and_axes():
    config = AudioConfig.from_json({"sscp_conv_kernel_size": 5, "sscp_conv_stride_size": [[1, 2], [3, 4]]})
    assert config.sscp_conv_kernel_size == ((5, 5), (5, 5))
    assert config.sscp_conv_stride_size == ((1, 2), (3, 4))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"conf_attention_chunk_size": 0}, "conf_attention_chunk_size is 0, not positive"),
        ({"conf_attention_context_right": -1}, "conf_attention_context_right is -1, negative"),
        ({"sscp_conv_stride_size": [[2, 2], [2, 0]]}, "sscp_conv_stride_size is"),
        ({"sscp_conv_kernel_size": [[3, 3]]}, "sscp_conv_kernel_size has 1 entries"),
        ({"sscp_conv_channel_size": ["128", 32]}, "sscp_conv_channel_size[0] is '128', not int"),
        ({"conf_num_attention_heads": 7}, "1536 channels for 7 heads: not a multiple"),
        ({"hidden_size": 15, "conf_num_attention_heads": 5}, "hidden_size 15 is odd"),
        ({"input_feat_size": 1, "sscp_conv_kernel_size": [[3, 9], [3, 3]]}, "leaves none of 1 bands"),
        ({"gradient_clipping": "1e10"}, "gradient_clipping is '1e10', not float"),
    ],
)
def test_what_cannot_run_is_refused(fields, said):
    with pytest.raises(UsageError) as raised:
        AudioConfig.from_json(fields)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
