"""Preprocessing of the embedded checkpoint: image and audio settings, placeholder counts, chat template."""

from typing import Final

from tools.tiny import config
from tools.tiny.config import JsonObject

# Gemma's dialogue: turns of `user` and `model`, a system message set before the first user turn, text parts trimmed,
# an image or audio part one soft token, which the processor expands.
CHAT_TEMPLATE: Final = """\
{%- macro render(content) -%}
    {%- if content is string -%}
        {{- content | trim -}}
    {%- else -%}
        {%- for part in content -%}
            {%- if part['type'] == 'image' -%}
                {{- '<image_soft_token>' -}}
            {%- elif part['type'] == 'audio' -%}
                {{- '<audio_soft_token>' -}}
            {%- elif part['type'] == 'text' -%}
                {{- part['text'] | trim -}}
            {%- else -%}
                {{- raise_exception('Unknown content part: ' + part['type']) -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{{- bos_token -}}
{%- set turns = messages -%}
{%- set system = '' -%}
{%- if messages and messages[0]['role'] == 'system' -%}
    {%- set turns = messages[1:] -%}
    {%- set system = render(messages[0]['content']) + '\\n\\n' -%}
{%- endif -%}
{%- for turn in turns -%}
    {%- if turn['role'] not in ('user', 'assistant') or (turn['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{- raise_exception('Roles must alternate: user, assistant, user, ...') -}}
    {%- endif -%}
    {{- '<start_of_turn>' + ('user' if turn['role'] == 'user' else 'model') + '\\n' -}}
    {{- (system if loop.first else '') + render(turn['content']) + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<start_of_turn>model\\n' -}}
{%- endif -%}
"""


def preprocessor_config() -> JsonObject:
    """Return preprocessor_config.json: pixels and samples; the published values, but for the image's size."""
    return {**image_settings(), **audio_settings(), "processor_class": "Gemma3nProcessor"}


def image_settings() -> JsonObject:
    """Return the image processor's settings: bilinear to a square, scaled to [0, 1], no mean and no deviation."""
    return {
        "do_convert_rgb": True,
        "do_normalize": False,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "SiglipImageProcessor",
        "image_seq_length": config.IMAGE_TOKENS,
        "image_std": [0.5, 0.5, 0.5],
        "resample": 2,  # bilinear
        "rescale_factor": 1 / 255,
        "size": {"height": config.IMAGE_SIZE, "width": config.IMAGE_SIZE},
    }


def audio_settings() -> JsonObject:
    """Return the feature extractor's settings: 16 kHz, frames of 32 ms every 10 ms, 128 mel bins, natural logarithm."""
    return {
        "dither": 0.0,
        "feature_extractor_type": "Gemma3nAudioFeatureExtractor",
        "feature_size": 128,
        "fft_length": 1024,
        "fft_overdrive": True,
        "frame_length": 512,
        "hop_length": 160,
        "input_scale_factor": 1.0,
        "max_frequency": 7600.0,
        "mel_floor": 1e-05,
        "min_frequency": 125.0,
        "padding_side": "right",
        "padding_value": 0.0,
        "per_bin_mean": None,
        "per_bin_stddev": None,
        "preemphasis": 0.97,
        "preemphasis_htk_flavor": True,
        "return_attention_mask": False,
        "sampling_rate": 16000,
    }


def processor_config() -> JsonObject:
    """Return processor_config.json: how many soft tokens stand for an image and for a clip of audio."""
    return {
        "audio_seq_length": config.AUDIO_TOKENS,
        "image_seq_length": config.IMAGE_TOKENS,
        "processor_class": "Gemma3nProcessor",
    }
