"""A checkpoint's preprocessing settings, read from the files that the reference's processor reads.

Where a file has a setting that is not implemented here, it is refused: a silent default would be another model's input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from implementations.gemma3n.preprocessing.settings import (
    MOST_SAMPLES,
    PAD_TO,
    AudioSettings,
    ImageSettings,
    MediaTokens,
)
from implementations.gemma3n.preprocessing.settings_files import (
    AudioFile,
    ImageFile,
    ModelFile,
    ProcessorFile,
    SettingsFile,
)
from implementations.gemma3n.preprocessing.template_files import template_of
from parity.checkpoint import is_text_only, object_of
from parity.errors import UsageError

File = TypeVar("File", bound=SettingsFile)


@dataclass(frozen=True)
class ProcessorSettings:
    """All of them; a language model alone has none of images and sound.

    Attributes:
        ids: token ids that the model's config.json gives the texts of `image_tokens` and `audio_tokens`.
        special: texts of special tokens by their role, such as `bos_token`, for the chat template.
        template: the chat template's source; None where the checkpoint has none, as pretrained ones do.
    """

    image: ImageSettings | None
    audio: AudioSettings | None
    image_tokens: MediaTokens | None
    audio_tokens: MediaTokens | None
    ids: Mapping[str, int]
    special: Mapping[str, str]
    template: str | None

    @property
    def media_tokens(self) -> tuple[MediaTokens, ...]:
        """How a prompt shows an image, then a clip."""
        return tuple(tokens for tokens in (self.image_tokens, self.audio_tokens) if tokens is not None)

    @classmethod
    def from_directory(cls, checkpoint: Path) -> ProcessorSettings:
        """Read preprocessor_config.json, processor_config.json, tokenizer_config.json and config.json.

        Raises:
            UsageError: for a file that is missing or malformed, a setting that is not implemented, or files that
                contradict each other.
        """
        model = _read(checkpoint, "config.json")
        if is_text_only(model):
            return cls(None, None, None, None, {}, special_tokens(checkpoint), template_of(checkpoint, {}))
        processor = _read(checkpoint, "processor_config.json")
        counts = _parse(ProcessorFile, processor, checkpoint / "processor_config.json")
        network = _parse(ModelFile, model, checkpoint / "config.json")
        _require_equal_counts(counts, network, checkpoint)
        special = special_tokens(checkpoint)
        image, audio = _tokens(special, counts, checkpoint)
        return cls(
            image=_image(*_section(checkpoint, processor, "image_processor")),
            audio=_audio(*_section(checkpoint, processor, "feature_extractor"), network),
            image_tokens=image,
            audio_tokens=audio,
            ids={
                image.soft: network.image_token_id,
                image.begin: network.boi_token_id,
                image.end: network.eoi_token_id,
                audio.soft: network.audio_token_id,
                audio.begin: network.boa_token_id,
                audio.end: network.eoa_token_id,
            },
            special=special,
            template=template_of(checkpoint, processor),
        )


def _image(data: Mapping[str, Any], file: Path) -> ImageSettings:
    found = _parse(ImageFile, data, file)
    moments = (found.image_mean, found.image_std) if found.do_normalize else (None, None)
    return ImageSettings(found.size.height, found.size.width, found.rescale_factor, *moments)


def _audio(data: Mapping[str, Any], file: Path, network: ModelFile) -> AudioSettings:
    found = _parse(AudioFile, data, file)
    settings = AudioSettings(
        sampling_rate=found.sampling_rate,
        frame_length=found.frame_samples,
        hop_length=found.hop_samples,
        fft_length=found.transform_samples,
        bins=found.feature_size,
        lowest=found.min_frequency,
        highest=found.max_frequency,
        preemphasis=found.preemphasis,
        floor=found.mel_floor,
        gain=found.input_scale_factor,
        soft_tokens=network.audio_soft_tokens_per_image,
    )
    frames = settings.soft_tokens * network.frames_per_soft_token
    # The longest padded waveform without a frame too many.
    fitting = (settings.least_samples + frames * settings.hop_length - 1) // PAD_TO * PAD_TO
    return replace(settings, most_samples=min(MOST_SAMPLES, fitting))


def _tokens(special: Mapping[str, str], counts: ProcessorFile, checkpoint: Path) -> tuple[MediaTokens, MediaTokens]:
    def text(role: str) -> str:
        if role not in special:
            raise UsageError(f"checkpoint {checkpoint}: tokenizer_config.json has no {role}; is it of Gemma 3n?")
        return special[role]

    image = MediaTokens(
        kind="image",
        soft=text("image_token"),
        begin=text("boi_token"),
        end=text("eoi_token"),
        count=counts.image_seq_length,
    )
    audio = MediaTokens(
        kind="audio",
        soft=text("audio_token"),
        begin=text("boa_token"),
        end=text("eoa_token"),
        count=counts.audio_seq_length,
    )
    return image, audio


def _require_equal_counts(counts: ProcessorFile, network: ModelFile, checkpoint: Path) -> None:
    for kind, written, filled in (
        ("image", counts.image_seq_length, network.vision_soft_tokens_per_image),
        ("audio", counts.audio_seq_length, network.audio_soft_tokens_per_image),
    ):
        if written != filled:
            raise UsageError(
                f"checkpoint {checkpoint}: processor_config.json writes {written} {kind} tokens, but config.json fills "
                f"{filled}"
            )


def special_tokens(checkpoint: Path) -> dict[str, str]:
    """Special tokens by role: a role's value is a text, or an object that has it under `content`.

    As in transformers, those of the older file are read where tokenizer_config.json does not list the added tokens.
    """
    data = _read(checkpoint, "tokenizer_config.json")
    older = checkpoint / "special_tokens_map.json"
    files = [object_of(older)] if "added_tokens_decoder" not in data and older.is_file() else []
    named: dict[str, Any] = {}
    for file in (*files, data):
        extra = file.get("extra_special_tokens")
        named |= {**file, **(extra if isinstance(extra, dict) else {})}
    texts = {role: value.get("content") if isinstance(value, dict) else value for role, value in named.items()}
    return {role: text for role, text in texts.items() if role.endswith("_token") and isinstance(text, str)}


def _section(checkpoint: Path, processor: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], Path]:
    """Settings that newer checkpoints keep inside processor_config.json, older ones in preprocessor_config.json."""
    nested = processor.get(name)
    if isinstance(nested, dict):
        return nested, checkpoint / "processor_config.json"
    return _read(checkpoint, "preprocessor_config.json"), checkpoint / "preprocessor_config.json"


def _read(checkpoint: Path, name: str) -> dict[str, Any]:
    return object_of(checkpoint / name)


def _parse(kind: type[File], data: Mapping[str, Any], file: Path) -> File:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        given = "" if problem["type"] == "missing" else f" is {problem['input']!r}:"
        reason = problem["msg"][0].lower() + problem["msg"][1:]
        raise UsageError(f"checkpoint {file.parent}: {file.name}: {field}{given} {reason}") from error


def picture_of(checkpoint: Path) -> tuple[int, int] | None:
    """Height and width of the pictures that a checkpoint's processor makes; None where it has no processor.

    Raises:
        UsageError: for settings that are malformed or not implemented.
    """
    if not (checkpoint / "processor_config.json").is_file():
        return None
    image = ProcessorSettings.from_directory(checkpoint).image
    return None if image is None else (image.height, image.width)
