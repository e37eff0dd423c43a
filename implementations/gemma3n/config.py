"""Configuration of Gemma 3n, read from the config.json of a Hugging Face checkpoint.

Defaults are those of the published E4B model. Fields that no implementation here needs are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from implementations.gemma3n.audio_config import AudioConfig
from implementations.gemma3n.fields import build, numbers, section, sequence
from implementations.gemma3n.modality import ModalityConfig
from implementations.gemma3n.rope import FULL, SLIDING, Rope, read_ropes
from implementations.gemma3n.vision_config import VisionConfig
from parity.checkpoint import config_of, is_text_only
from parity.errors import UsageError

__all__ = ["AudioConfig", "Config", "ModalityConfig", "TextConfig", "VisionConfig"]

MODEL_TYPE, TEXT_TYPE = "gemma3n", "gemma3n_text"
ACTIVATION = "gelu_pytorch_tanh"
FULL_EVERY = 5
"""Published models have a full-attention layer every fifth."""
SPARSE_LAYERS, SPARSITY = 10, 0.95
"""Published models keep the top 5 % of the gate in the first ten layers."""


@dataclass(frozen=True)
class TextConfig:
    """The language model.

    Attributes:
        intermediate_size: width of each layer's feed-forward.
        layer_types: ``full_attention`` or ``sliding_attention`` for each layer.
        activation_sparsity_pattern: share of each layer's gate that is cut to zero; 0 for a dense layer.
        ropes: rotary embedding by layer type.
        altup_active_idx: the AltUp stream that runs through the layers; the others are predicted.
        hidden_size_per_layer_input: width of a per-layer embedding.
        num_kv_shared_layers: so many last layers have no keys and values of their own.
        sliding_window: positions that a sliding layer's query sees, its own included.

    Raises:
        UsageError: where fields contradict each other or ask for what is not implemented.
    """

    intermediate_size: tuple[int, ...]
    layer_types: tuple[str, ...]
    activation_sparsity_pattern: tuple[float, ...]
    ropes: Mapping[str, Rope] = field(hash=False)
    vocab_size: int = 262_400
    vocab_size_per_layer_input: int = 262_144
    hidden_size: int = 2048
    hidden_size_per_layer_input: int = 256
    num_hidden_layers: int = 35
    num_attention_heads: int = 8
    num_key_value_heads: int = 2
    num_kv_shared_layers: int = 15
    head_dim: int = 256
    hidden_activation: str = ACTIVATION
    attention_bias: bool = False
    sliding_window: int = 512
    max_position_embeddings: int = 32_768
    rms_norm_eps: float = 1e-6
    laurel_rank: int = 64
    altup_num_inputs: int = 4
    altup_active_idx: int = 0
    altup_correct_scale: bool = True
    final_logit_softcapping: float | None = 30.0

    def __post_init__(self) -> None:
        _require_positive(self)
        _require_supported(self)
        _require_donors(self)

    @property
    def first_shared_layer(self) -> int:
        """Index of the first layer without keys and values of its own; the layer count where none shares."""
        return self.num_hidden_layers - self.num_kv_shared_layers

    def owns_keys(self, layer: int) -> bool:
        """Whether a layer computes keys and values: the last `num_kv_shared_layers` do not."""
        return layer < self.first_shared_layer

    def donor(self, layer: int) -> int:
        """The layer whose keys and values `layer` sees: itself, or the last of its type that has its own."""
        own = range(min(layer, self.first_shared_layer - 1), -1, -1)
        return next(index for index in own if self.layer_types[index] == self.layer_types[layer])

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TextConfig:
        """Read the `text_config` section of config.json."""
        count = data.get("num_hidden_layers", cls.num_hidden_layers)
        if type(count) is not int or count < 1:
            raise UsageError(f"config.json: text_config.num_hidden_layers is {count!r}, not a positive int")
        sparse = SPARSE_LAYERS if count > SPARSE_LAYERS else 0
        sparsity = [SPARSITY] * sparse + [0.0] * (count - sparse)
        kinds = [SLIDING if (layer + 1) % FULL_EVERY else FULL for layer in range(count)]

        def per_layer(name: str, kind: type[Any], default: Any) -> tuple[Any, ...]:
            return numbers(sequence(data, name, count, default, "text_config"), kind, f"text_config.{name}")

        return build(
            cls,
            data,
            "text_config",
            intermediate_size=per_layer("intermediate_size", int, 16_384),
            layer_types=per_layer("layer_types", str, kinds),
            activation_sparsity_pattern=per_layer("activation_sparsity_pattern", float, sparsity),
            ropes=read_ropes(data),
        )


@dataclass(frozen=True)
class Config:
    """The whole model.

    Attributes:
        image_token_id: placeholder of an image's soft token.
        audio_token_id: placeholder of a clip's.
        audio_soft_tokens_per_image: soft tokens of a clip, however short it is.
        tie_word_embeddings: whether the embedding's table is the head's too, where the checkpoint has no other.
        text_only: whether there is a language model alone, whose ids are all embedded as text.
    """

    text: TextConfig
    vision: VisionConfig = field(default_factory=VisionConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    image_token_id: int = 262_145
    audio_token_id: int = 262_273
    audio_soft_tokens_per_image: int = 188
    tie_word_embeddings: bool | None = True
    text_only: bool = False

    @property
    def ids(self) -> int:
        """How many token ids have an embedding: those that were added behind the audio tower's have none."""
        return self.text.vocab_size if self.text_only else min(self.text.vocab_size, self.audio.last_id + 1)

    @classmethod
    def from_directory(cls, path: Path) -> Config:
        """Read ``config.json`` of a checkpoint directory.

        Raises:
            UsageError: for a file that is missing or malformed, or another architecture.
        """
        return cls.from_json(config_of(path))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Config:
        """Read the content of config.json.

        Raises:
            UsageError: for another architecture, or a field that is missing or wrong.
        """
        if (found := data.get("model_type")) not in (MODEL_TYPE, TEXT_TYPE):
            raise UsageError(f"config.json: model_type is {found!r}; only {MODEL_TYPE!r} is implemented")
        if is_text_only(data):
            text = section(data, "text_config") if found == MODEL_TYPE else data
            tied = {name: text[name] for name in ("tie_word_embeddings",) if name in text}
            return build(cls, tied, "text_config", text=TextConfig.from_json(text), text_only=True)
        return build(
            cls,
            data,
            "the file",
            text=TextConfig.from_json(section(data, "text_config")),
            vision=VisionConfig.from_json(section(data, "vision_config")),
            audio=AudioConfig.from_json(section(data, "audio_config")),
            text_only=False,
        )


def _require_positive(config: TextConfig) -> None:
    signed = {"num_kv_shared_layers", "altup_active_idx"}
    for name, value in vars(config).items():
        if type(value) in (int, float) and name not in signed and not value > 0:
            raise UsageError(f"config.json: text_config.{name} is {value}, not positive")
    for layer, width in enumerate(config.intermediate_size):
        if width < 1:
            raise UsageError(f"config.json: text_config.intermediate_size[{layer}] is {width}, not positive")


def _require_supported(config: TextConfig) -> None:
    if config.hidden_activation != ACTIVATION:
        raise UsageError(f"config.json: hidden_activation {config.hidden_activation!r}: only {ACTIVATION!r} is known")
    if unknown := sorted(set(config.layer_types) - {FULL, SLIDING}):
        raise UsageError(f"config.json: layer type {unknown[0]!r}: only {FULL} and {SLIDING} are known")
    if config.num_attention_heads % config.num_key_value_heads:
        heads = f"{config.num_attention_heads} query heads for {config.num_key_value_heads} key heads"
        raise UsageError(f"config.json: {heads}: not a multiple")
    if config.head_dim % 2:
        raise UsageError(f"config.json: head_dim {config.head_dim} is odd: rotary embedding turns pairs")
    if not 0 <= config.altup_active_idx < config.altup_num_inputs:
        raise UsageError(f"config.json: no AltUp stream {config.altup_active_idx} of {config.altup_num_inputs}")
    for layer, sparsity in enumerate(config.activation_sparsity_pattern):
        if not 0 <= sparsity < 1:
            raise UsageError(f"config.json: activation_sparsity_pattern[{layer}] is {sparsity}, not in [0, 1)")


def _require_donors(config: TextConfig) -> None:
    if not 0 <= config.num_kv_shared_layers < config.num_hidden_layers:
        shared = f"{config.num_kv_shared_layers} of {config.num_hidden_layers}"
        raise UsageError(f"config.json: num_kv_shared_layers is {shared} layers; at least one must own its keys")
    own = set(config.layer_types[: config.first_shared_layer])
    if missing := sorted(set(config.layer_types[config.first_shared_layer :]) - own):
        raise UsageError(f"config.json: KV-shared {missing[0]} layers have no layer of that type before them to share")
