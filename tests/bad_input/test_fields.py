"""Fields of a checkpoint's files with values of the wrong type, out of range, or that contradict each other."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from implementations.gemma3n.config import Config
from implementations.gemma3n.preprocessing.preprocessor import Preprocessor
from implementations.gemma3n.preprocessing.tokenizer import stop_ids
from reference.tiny import path as tiny
from tests.bad_input import inputs
from tests.bad_input.inputs import DELETED, edited
from tests.bad_input.table import Row, table

NONE_IS = {"final_logit_softcapping"}
"""Of which null is a value."""


def configuration() -> object:
    """Our own reader."""
    return Config.from_directory(Path("model"))


def settings() -> object:
    """Of preprocessing."""
    return Preprocessor(Path("model")).settings


def changed(file: str, *place: str, value: Any) -> inputs.Spoil:
    """A checkpoint with another value in one of its files."""
    return inputs.at(f"model/{file}", inputs.checkpoint, edited(*place, value=value))


config = partial(changed, "config.json")
processor = partial(changed, "processor_config.json")


def scalars(section: str) -> list[str]:
    """Numbers of a section."""
    found = json.loads((tiny() / "config.json").read_text())[section]
    return [name for name, value in found.items() if type(value) in (int, float) and name not in UNREAD]


UNREAD = {"initializer_range", "pad_token_id", "bos_token_id", "eos_token_id", "gradient_clipping", "input_feat_size",
          "altup_coef_clip", "attention_dropout", "rope_theta", "rope_local_base_freq"}  # fmt: skip
"""What no implementation needs; the rotary embedding's are below."""
KINDS = {"null": None, "text": "x", "list": [1], "true": True}
FIELDS = [
    Row(f"{name}-{kind}", configuration, config("text_config", name, value=value), 2,
        (f"text_config.{name} is", "not "))
    for name in scalars("text_config") for kind, value in KINDS.items()
    if not (value is None and name in NONE_IS)
]  # fmt: skip
RANGES = {
    "hidden_size": 0, "num_attention_heads": -1, "head_dim": 7, "num_key_value_heads": 3, "num_hidden_layers": 0,
    "altup_active_idx": 99, "num_kv_shared_layers": 99, "hidden_activation": "relu", "layer_types": ["x"],
    "activation_sparsity_pattern": [2.0], "intermediate_size": [0], "rms_norm_eps": 0, "rope_theta": -1,
    "rope_local_base_freq": "x", "rope_scaling": {"rope_type": "yarn"}, "sliding_window": 0,
    "max_position_embeddings": 0, "vocab_size": -5, "rope_parameters": 7,
}  # fmt: skip
OUT = [
    Row(f"{name}={json.dumps(value)}", configuration, config("text_config", name, value=value), 2, ("config.json",))
    for name, value in RANGES.items()
]  # fmt: skip
SECTIONS = [
    Row(f"{name}-{kind}", configuration, config(name, value=value), 2, ("config.json", name))
    for name in ("text_config", "vision_config", "audio_config", "model_type")
    for kind, value in {"missing": DELETED, "null": None, "list": [], "text": "x", "number": 1}.items()
    if (name, kind) != ("vision_config", "missing")  # a language model alone
]
PREPROCESSING: dict[tuple[str, ...], tuple[Any, ...]] = {
    ("preprocessor_config.json", "size"): (None, 5, {}, {"height": -1, "width": 9}, {"height": 10**6, "width": 9}),
    ("preprocessor_config.json", "resample"): (3, "x", None),
    ("preprocessor_config.json", "rescale_factor"): (0, -1, "x"),
    ("preprocessor_config.json", "image_mean"): ([0.5], "x", 3),
    ("preprocessor_config.json", "do_resize"): (False,),
    ("preprocessor_config.json", "image_processor_type"): ("Other", 7),
    ("preprocessor_config.json", "feature_extractor_type"): ("Other", None),
    ("preprocessor_config.json", "sampling_rate"): (0, "x", 2**40),
    ("preprocessor_config.json", "frame_length"): (7,),
    ("preprocessor_config.json", "max_frequency"): (9000.0, 1.0),
    ("preprocessor_config.json", "dither"): (0.1,),
    ("preprocessor_config.json", "mel_floor"): (0.0, "x"),
    ("preprocessor_config.json", "preemphasis"): (1.5, []),
    ("processor_config.json", "image_seq_length"): (0, "x", 17, 2**21),
    ("processor_config.json", "audio_seq_length"): (0, "x", 17),
    ("config.json", "image_token_id"): ("x", None),
    ("config.json", "audio_soft_tokens_per_image"): (0, 17, "x"),
    ("config.json", "audio_config", "sscp_conv_stride_size"): (7, [[0, 1]], "x"),
}
SETTINGS = [
    Row(f"{'.'.join(place)}={json.dumps(value)}", settings, changed(place[0], *place[1:], value=value), 2,
        ("checkpoint model",))
    for place, values in PREPROCESSING.items() for value in values
]  # fmt: skip
STOPS = [
    Row(f"eos_token_id={json.dumps(value)}", lambda: stop_ids(Path("model")),
        changed("generation_config.json", "eos_token_id", value=value), 2, ("eos_token_id", "fetch it again"))
    for value in ("x", {}, 1.5, True, ["x"], [None])
]  # fmt: skip
IMAGE, AUDIO, CONTEXT = "--image FILE.png", "--audio FILE.wav", ("text_config", "max_position_embeddings")
ADMISSION: dict[str, tuple[inputs.Spoil, str, str]] = {
    "model-type-unknown": (config("model_type", value="llama"), "", "models of type 'llama'"),
    "model-type-number": (config("model_type", value=3), "", "names no model_type"),
    "model-type-named": (config("model_type", value="llama"), "--reference transformers", "'llama'"),
    "context-zero": (config(*CONTEXT, value=0), "", "not a positive int"),
    "context-text": (config(*CONTEXT, value="x"), "", "not a positive int"),
    "prompt-too-long": (inputs.checkpoint, f"--prompt '{'hello ' * 3000}'", "the context is 1,024; shorten the prompt"),
    "no-vision": (config("vision_config", value=DELETED), IMAGE, "takes no image; leave it out"),
    "no-audio": (config("audio_config", value=None), AUDIO, "takes no audio; leave it out"),
    "soft-tokens": (processor("image_seq_length", value=17), IMAGE, "config.json fills 16"),
    "soft-tokens-text": (processor("image_seq_length", value="x"), IMAGE, "not a positive int"),
    "no-processor": (inputs.at("model/processor_config.json", inputs.checkpoint, Path.unlink), IMAGE, "is not there"),
    "many-pictures": (inputs.checkpoint, f"{IMAGE} " * 70, "tokens, the context is 1,024; shorten the prompt"),
    "strides": (config("audio_config", "sscp_conv_stride_size", value=7), AUDIO, "audio_config"),
    "clip": (inputs.checkpoint, "--audio LONG.wav", "31.00 s; this checkpoint takes at most 5.15 s (32"),
    "clip-5.2-s": (inputs.checkpoint, "--audio 5.2.wav", "5.20 s; this checkpoint takes at most 5.15 s (32"),
}  # fmt: skip
"""Checkpoint, options, and what is said before anything is started."""
COMMANDS: dict[str, str] = {
    "compare": "compare --model model",
    "generate": "generate --backend mlx --model model --prompt Hi",
    "trace": "trace --backend oracle --output out --model model",
}
OWN = {"model-type-unknown", "model-type-named"}
"""What `generate` leaves to the backend: it needs no reference."""
ADMITTED = [
    Row(f"{name}-{command}", f"{line} {options}", spoil, 2, (said,))
    for name, (spoil, options, said) in ADMISSION.items() for command, line in COMMANDS.items()
    if not (command == "generate" and name in OWN)
]  # fmt: skip


@table(FIELDS + OUT + SECTIONS)
def test_configuration(row, refused):
    refused(row)


@table(SETTINGS + STOPS)
def test_settings(row, refused):
    refused(row)


@pytest.fixture
def media(refused):
    """Files that the options name."""
    import numpy as np
    import soundfile

    (refused.here / "FILE.png").write_bytes(b"x")
    for name, seconds in (("FILE", 1.0), ("LONG", 31.0), ("5.2", 5.2)):
        soundfile.write(refused.here / f"{name}.wav", np.zeros(int(seconds * 16_000)), 16_000)


@table(ADMITTED)
def test_admission(row, refused, media):
    refused(row)
