"""Preprocessing settings: read as the reference reads them, and refused where they are not implemented."""

import json
import shutil

import pytest

from implementations.gemma3n.preprocessing.settings import AudioSettings, ImageSettings
from implementations.gemma3n.preprocessing.settings_reader import ProcessorSettings
from parity.errors import UsageError
from reference import tiny

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
MODEL, TOKENS = "config.json", "tokenizer_config.json"
FILES = (PREPROCESSOR, PROCESSOR, MODEL, TOKENS)


@pytest.fixture
def checkpoint(tmp_path):
    """The embedded checkpoint's settings files."""
    for name in (*FILES, "chat_template.jinja"):
        shutil.copy(tiny.path() / name, tmp_path)
    return tmp_path


def edit(checkpoint, name, **fields):
    """Set fields of one file; `...` removes one."""
    file = checkpoint / name
    data = {**json.loads(file.read_text()), **fields}
    file.write_text(json.dumps({key: value for key, value in data.items() if value is not ...}))


def read(checkpoint):
    return ProcessorSettings.from_directory(checkpoint)


def test_the_embedded_checkpoint(checkpoint):
    settings = read(checkpoint)
    assert settings.image == ImageSettings(192, 192)
    assert settings.audio == AudioSettings(most_samples=82_432, soft_tokens=32)
    assert (settings.image_tokens.count, settings.audio_tokens.count) == (16, 32)
    assert settings.ids == {"<image_soft_token>": 513, "<start_of_image>": 7, "<end_of_image>": 512,
                            "<audio_soft_token>": 641, "<start_of_audio>": 8, "<end_of_audio>": 640}  # fmt: skip
    assert settings.special["bos_token"] == "<bos>"
    assert settings.template == (tiny.path() / "chat_template.jinja").read_text()


def test_defaults_are_the_published_checkpoints(checkpoint):
    """Those of the reference's classes, where a file leaves a field out."""
    edit(
        checkpoint, PREPROCESSOR, fft_length=..., frame_length=..., hop_length=..., feature_size=..., rescale_factor=...
    )
    edit(checkpoint, PROCESSOR, image_seq_length=..., audio_seq_length=...)
    removed = dict.fromkeys(json.loads((checkpoint / MODEL).read_text()), ...)
    edit(checkpoint, MODEL, **{**removed, "vision_config": {}})
    settings = read(checkpoint)
    assert settings.audio == AudioSettings()
    assert settings.audio.most_samples == 30 * 16_000
    assert settings.ids["<image_soft_token>"] == 262_145
    assert settings.image_tokens.count == 256


def test_newer_checkpoints_keep_them_in_one_file(checkpoint):
    """Where both files have them, the newer one counts, as in the reference."""
    data = json.loads((checkpoint / PREPROCESSOR).read_text())
    edit(checkpoint, PROCESSOR, image_processor={**data, "size": {"height": 64, "width": 96}}, feature_extractor=data)
    assert read(checkpoint).image == ImageSettings(64, 96)
    (checkpoint / PREPROCESSOR).unlink()
    assert read(checkpoint).audio.bins == 128


def test_mean_and_deviation_count_where_pixels_are_normalised(checkpoint):
    edit(checkpoint, PREPROCESSOR, do_normalize=True, image_mean=[0.1, 0.2, 0.3], image_std=[1, 2, 3])
    assert read(checkpoint).image == ImageSettings(192, 192, 1 / 255, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    edit(checkpoint, PREPROCESSOR, do_normalize=...)
    assert read(checkpoint).image.mean is not None, "the reference normalises unless it is told not to"


@pytest.mark.parametrize(("reduction", "most"), [(4, 82_432), (2, 41_472), (8, 164_352), (40, 480_000)])
def test_the_longest_clip_follows_from_the_audio_tower(checkpoint, reduction, most):
    model = json.loads((checkpoint / MODEL).read_text())
    edit(checkpoint, MODEL, audio_config={**model["audio_config"], "conf_reduction_factor": reduction})
    assert read(checkpoint).audio.most_samples == most


def test_a_template_inside_the_tokenizers_file(checkpoint):
    (checkpoint / "chat_template.jinja").unlink()
    assert read(checkpoint).template is None
    edit(checkpoint, TOKENS, chat_template="{{ bos_token }}")
    assert read(checkpoint).template == "{{ bos_token }}"


def test_a_special_token_as_an_object(checkpoint):
    edit(checkpoint, TOKENS, boi_token={"content": "<start_of_image>"}, extra_special_tokens=...)
    assert read(checkpoint).image_tokens.begin == "<start_of_image>"


BAD = [
    (PREPROCESSOR, {"image_processor_type": "Gemma3ImageProcessor"}),
    (PREPROCESSOR, {"image_processor_type": ...}),
    (PREPROCESSOR, {"feature_extractor_type": "WhisperFeatureExtractor"}),
    (PREPROCESSOR, {"do_resize": False}),
    (PREPROCESSOR, {"do_rescale": False}),
    (PREPROCESSOR, {"do_center_crop": True}),
    (PREPROCESSOR, {"do_pad": True}),
    (PREPROCESSOR, {"resample": 3}),
    (PREPROCESSOR, {"resample": ...}),
    (PREPROCESSOR, {"size": {"shortest_edge": 192}}),
    (PREPROCESSOR, {"size": {"height": 0, "width": 192}}),
    (PREPROCESSOR, {"size": {"height": 10**9, "width": 192}}),
    (PREPROCESSOR, {"rescale_factor": "NaN"}),
    (PREPROCESSOR, {"image_mean": [0.5]}),
    (PREPROCESSOR, {"image_std": [0.5, 0.5, 0]}),
    (PREPROCESSOR, {"dither": 0.1}),
    (PREPROCESSOR, {"padding_side": "left"}),
    (PREPROCESSOR, {"padding_value": 1.0}),
    (PREPROCESSOR, {"preemphasis_htk_flavor": False}),
    (PREPROCESSOR, {"preemphasis": 1.5}),
    (PREPROCESSOR, {"per_bin_mean": [0.0] * 128}),
    (PREPROCESSOR, {"per_bin_stddev": [1.0] * 128}),
    (PREPROCESSOR, {"mel_floor": 0}),
    (PREPROCESSOR, {"sampling_rate": 0}),
    (PREPROCESSOR, {"max_frequency": 9000.0}),
    (PREPROCESSOR, {"min_frequency": 7700.0}),
    (PREPROCESSOR, {"frame_length_ms": 0.01}),
    (PREPROCESSOR, {"frame_length": 400}),
    (PREPROCESSOR, {"hop_length": 128}),
    (PREPROCESSOR, {"fft_length": 512}),
    (PROCESSOR, {"image_seq_length": 17}),
    (PROCESSOR, {"audio_seq_length": 31}),
    (PROCESSOR, {"audio_seq_length": -1}),
    (MODEL, {"audio_soft_tokens_per_image": 33}),
    (MODEL, {"image_token_id": "x"}),
    (MODEL, {"audio_config": {"conf_reduction_factor": 0}}),
    (TOKENS, {"image_token": ..., "extra_special_tokens": ...}),
]


@pytest.mark.parametrize(("name", "fields"), BAD)
def test_what_is_not_implemented_or_contradicts_is_refused_in_one_line(checkpoint, name, fields):
    edit(checkpoint, name, **fields)
    with pytest.raises(UsageError) as caught:
        read(checkpoint)
    message = str(caught.value)
    assert message.startswith(f"checkpoint {checkpoint}: ")
    assert "\n" not in message
    assert any(file in message for file in FILES)
    assert any(field in message or field.split("_")[0] in message for field in fields)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [None, "", "{", "[]", "\xff", "[" * 100_000])
def test_files_that_cannot_be_read_are_refused_in_one_line(checkpoint, name, content):
    path = checkpoint / name
    path.unlink() if content is None else path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=rf"{name} (cannot be read|is no JSON object)") as caught:
        read(checkpoint)
    assert "\n" not in str(caught.value)
