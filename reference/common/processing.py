"""What a user says, as the reference's own processor gives it to the model: token ids, pixels and mel features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers import AutoProcessor, AutoTokenizer
from transformers.audio_utils import load_audio

from parity.checkpoint import config_of, is_text_only
from parity.errors import UsageError
from parity.media import Part, Prompt
from parity.native import tamed
from parity.tap import SILENT, Tap
from reference.common.clips import Limit
from reference.common.conversation import Role
from reference.common.host_arithmetics import exact, otherwise


@dataclass(frozen=True)
class Inputs:
    """What the model takes.

    Attributes:
        token_ids: ``[batch, token]``, left-padded.
        padding: padding tokens of each row.
        media: keyword arguments of the model's forward pass: ``pixel_values`` ``[image, channel, height, width]``,
            ``input_features`` ``[clip, frame, mel]`` and ``input_features_mask`` ``[clip, frame]`` (True = valid).
    """

    token_ids: torch.Tensor
    padding: tuple[int, ...]
    media: dict[str, torch.Tensor]


class Processing:
    """Transformers' processor of one checkpoint, loaded when it is first needed.

    Args:
        checkpoint: its folder.
        extractor: the module of its feature extractor.
        places: soft tokens of a clip that the model has places for, and the strides of what shortens frames to them.
        exact: whether it is the oracle's, in float64.

    Attributes:
        execution: how it computes where several ways are as right (`parity.backend.Reference.executions`): empty, as it
            is; any other name, in other steps. The oracle has one way.
    """

    def __init__(
        self, checkpoint: Path, extractor: str, places: tuple[int, Sequence[int]], *, exact: bool = False
    ) -> None:
        self.execution = ""
        self._checkpoint = checkpoint
        self._extractor = extractor
        self._places = places
        self._exact = exact
        self._processor: Any = None
        self._text_only = is_text_only(config_of(checkpoint))

    def __call__(self, prompts: Sequence[Prompt], *, tap: Tap = SILENT) -> Inputs:
        """Process one user turn a row, in the chat template, up to where the model's turn begins.

        Raises:
            UsageError: for a file that the reference cannot take.
        """
        with self._arithmetic():
            return self._inputs(prompts, tap)

    def _arithmetic(self) -> AbstractContextManager[None]:
        if self._exact:
            return exact(self._extractor)
        return otherwise(self._extractor) if self.execution else nullcontext()

    def _inputs(self, prompts: Sequence[Prompt], tap: Tap) -> Inputs:
        clips = self._clips([part for prompt in prompts for part in prompt], tap)
        found = self._templated([[_message("user", prompt, clips)] for prompt in prompts])
        ids = tap("processor.token_ids", found["input_ids"].numpy())
        media = {name: tap(step, found[name].numpy()) for name, step in MEDIA.items() if name in found}
        padding = tuple((found["attention_mask"] == 0).sum(dim=1).tolist())
        return Inputs(torch.from_numpy(ids), padding, {name: torch.from_numpy(value) for name, value in media.items()})

    def dialogue(self, turns: Sequence[tuple[Role, Prompt]]) -> list[int]:
        """Token ids of a conversation, up to where the model's next turn begins.

        Raises:
            UsageError: for a file that the reference cannot take.
        """
        clips = self._clips([part for _, prompt in turns for part in prompt], SILENT)
        found = self._templated([[_message(role, prompt, clips) for role, prompt in turns]])
        return list(found["input_ids"][0].tolist())

    def _templated(self, dialogues: Sequence[Sequence[Mapping[str, Any]]]) -> Any:
        try:
            with tamed():
                return self._load().apply_chat_template(
                    dialogues,
                    tokenize=True,
                    return_dict=True,
                    return_tensors="pt",
                    add_generation_prompt=True,
                    **self._padded,
                )
        except UsageError:
            raise
        except Exception as error:  # a template is a program, and makes any error that one can make
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"the reference's processor cannot take this prompt ({reason})") from error

    def _clips(self, parts: Sequence[Part], tap: Tap) -> Iterator[np.ndarray]:
        """Waveforms of all audio parts in order, mono; the step has them padded with zeros to the longest.

        Of a clip that is too long, the model would leave a negative number of places empty, and crash.
        """
        files = [part.value for part in parts if part.kind == "audio"]
        if not files:
            return iter(())
        clips = [_waveform(file, self._rate) for file in files]
        for file, clip in zip(files, clips, strict=True):
            self._limit.require_samples(len(clip), file)
        longest = max(len(clip) for clip in clips)
        padded = np.stack([np.pad(clip, (0, longest - len(clip))) for clip in clips])
        answered = tap("processor.waveform", padded)
        return iter([whole[: len(clip)] for whole, clip in zip(answered, clips, strict=True)])

    @property
    def _limit(self) -> Limit:
        extractor = self._load().feature_extractor
        window, hop = extractor.frame_length, extractor.hop_length
        return Limit.of(*self._places, window=window, hop=hop, rate=self._rate)

    @property
    def _padded(self) -> Mapping[str, Any]:
        if self._text_only:
            return {"padding": True, "tokenizer_kwargs": {"padding_side": "left"}}
        return {"processor_kwargs": {"padding": True, "padding_side": "left"}}

    @property
    def _rate(self) -> int:
        return 0 if self._text_only else int(self._load().feature_extractor.sampling_rate)

    def _load(self) -> Any:
        if self._processor is None:
            try:
                with self._arithmetic(), tamed():  # the window and the mel filters are made here
                    loader = AutoTokenizer if self._text_only else AutoProcessor
                    processor = loader.from_pretrained(self._checkpoint, local_files_only=True)
                tokenizer = processor if self._text_only else processor.tokenizer
                if processor.chat_template is None and tokenizer.chat_template is not None:
                    processor.chat_template = tokenizer.get_chat_template()  # older files have it there
                self._processor = processor
            except Exception as error:  # the loader raises many unrelated types
                reason = " ".join(str(error).split())[:200]
                raise UsageError(f"checkpoint {self._checkpoint}: its processor cannot be loaded ({reason})") from error
        return self._processor


MEDIA = {
    "pixel_values": "processor.pixels",
    "input_features": "processor.mel",
    "input_features_mask": "processor.mel_mask",
}
"""What the processor makes of media, and the steps that it is."""


def _waveform(file: str, rate: int) -> np.ndarray:
    """Samples of an audio file, with the decoder and resampler that need no further package: soundfile and soxr."""
    try:
        found: np.ndarray = load_audio(file, sampling_rate=rate, backend="soundfile")
    except Exception as error:  # the decoder raises many unrelated types
        raise UsageError(f"{file} is no audio file that the reference can read ({error})") from error
    return found


def _picture(file: str) -> Image.Image:
    """An image as its author saw it: upright, opened by Pillow, 16-bit greys scaled to 8 bits.

    Given the path, transformers decodes with torchvision, which knows four formats and drops transparency; given the
    image, it lays it on white. Greys of 16 bits it would clip at 255, which leaves an almost white picture.
    """
    try:
        return ImageOps.exif_transpose(_eight_bits(Image.open(file)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"{file} is no image that the reference can read ({error})") from error


def _message(role: Role, prompt: Prompt, clips: Iterator[np.ndarray]) -> dict[str, Any]:
    return {"role": role, "content": [_content(part, clips) for part in prompt]}


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image with at most 256 levels a channel, the nearest ones; what is EXIF's stays with it."""
    if image.mode.startswith("I;16"):
        made = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
        made.info["exif"] = image.getexif().tobytes()
        return made
    if image.mode in ("I", "F"):
        raise ValueError("32-bit samples have no known white; store 8 or 16 bits a channel")
    return image


def _content(part: Part, clips: Iterator[np.ndarray]) -> dict[str, Any]:
    if part.kind == "audio":
        return {"type": "audio", "audio": next(clips)}
    return {"type": part.kind, part.kind: _picture(part.value) if part.kind == "image" else part.value}
