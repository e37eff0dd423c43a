"""Rows of dialogues for the decoder: what is asked and answered, and the soft tokens it is about."""

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reference.common import pictures, sounds
from tools.tiny import codes, config, decoder, material, packing
from tools.tiny.material import Exchange
from tools.tiny.packing import Dialogue, Row, Rows
from tools.tiny.towers import BATCH, Audio, Vision

# Of pictures, of sounds, of both, of plain text.
MEDIA = (("image",), ("audio",), ("image", "audio"), ())
SHARES = (0.42, 0.32, 0.14, 0.12)
LENGTH = 128
TOKENS = {"image": config.IMAGE_TOKEN, "audio": config.AUDIO_TOKEN}
ENDS = {"image": config.END_OF_IMAGE, "audio": config.END_OF_AUDIO}

# Soft tokens of one picture or sound [token, 128], and what may be asked about it.
Subject = tuple[Tensor, list[material.Asked]]


class Writer:
    """Writes dialogues as the checkpoint's own processor and chat template do."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.media: dict[str, dict[str, Any]] = {
            "image": {"images": [np.zeros((8, 8, 3), np.uint8)]},
            "audio": {"audio": [np.zeros(8000)]},
        }
        self.write = functools.cache(self._write)

    def _write(self, exchange: Exchange, kinds: tuple[str, ...]) -> Dialogue:
        """Return the ids up to the end of the answering turn."""
        asked = material.messages(exchange.question, *kinds)
        answered = material.messages(exchange.question, *kinds, answer=exchange.answer)
        prompt = self.ids(kinds, self.processor.apply_chat_template(asked, add_generation_prompt=True))
        whole = self.ids(kinds, self.processor.apply_chat_template(answered))[:-1]  # less the newline that ends a turn
        return Dialogue(tuple(whole), len(whole) - len(prompt))

    def ids(self, kinds: Sequence[str], text: str) -> list[int]:
        """Return the ids of a text with its media's soft tokens."""
        media = {name: value for kind in kinds for name, value in self.media[kind].items()}
        found: list[int] = self.processor(text=text, add_special_tokens=False, **media)["input_ids"][0]
        return found


@dataclass(frozen=True)
class Lesson:
    """A batch of rows with the embeddings of all their places [row, place, 128]; and the kind of each dialogue."""

    rows: Rows
    embeddings: Tensor
    kinds: tuple[tuple[str, ...], ...]


def embeddings(model: Any) -> Tensor:
    """Return the embedding of each id [768, 128] as the reference computes it: text, vision, audio."""
    text = torch.arange(config.TEXT_VOCAB)
    vision, audio = (torch.arange(first, first + 128)[None] for first in (config.VISION_OFFSET, config.AUDIO_OFFSET))
    inner = model.model
    parts = (
        inner.language_model.embed_tokens(text),
        inner.embed_vision(input_ids=vision)[0],
        inner.embed_audio(input_ids=audio)[0],
    )
    return torch.cat(parts).detach()


def row(draw: random.Random, writer: Writer, subjects: Mapping[str, Subject]) -> tuple[Row, tuple[str, ...]]:
    """Lay out as many questions about the subjects as fit; without any, exchanges in text."""
    kinds = tuple(subjects)
    asked = [one for subject in subjects.values() for one in material.worded(draw, subject[1])]
    exchanges = asked or [pictures.pick(draw, material.TEXT) for _ in range(6)]
    draw.shuffle(exchanges)
    dialogues = [writer.write(exchange, kinds) for exchange in exchanges]
    shared = dialogues[0].ids.index(ENDS[kinds[-1]]) + 1 if kinds else 0
    fitting, size = [], shared
    for exchange, dialogue in zip(exchanges, dialogues, strict=True):
        if size + len(dialogue.ids) - shared <= LENGTH:
            fitting.append((exchange.kind, dialogue))
            size += len(dialogue.ids) - shared
    return packing.row([dialogue for _, dialogue in fitting], shared), tuple(kind for kind, _ in fitting)


def lesson(draw: random.Random, writer: Writer, table: Tensor, subject: Callable[[str], Subject], size: int) -> Lesson:
    """Draw a batch of rows."""
    chosen = [draw.choices(MEDIA, SHARES)[0] for _ in range(size)]
    subjects = [{kind: subject(kind) for kind in kinds} for kinds in chosen]
    laid = [row(draw, writer, one) for one in subjects]
    rows = packing.batch([one for one, _ in laid], LENGTH)
    found = table[rows.ids]
    for index, one in enumerate(subjects):
        for kind, (tokens, _) in one.items():
            found[index, rows.ids[index] == TOKENS[kind]] = tokens
    return Lesson(rows, found, tuple(kinds for _, kinds in laid))


def padded(tokens: Tensor, table: Tensor) -> Tensor:
    """Fill a sound's soft tokens up to 32 with the embedding of the last audio id, as the reference does."""
    return torch.cat((tokens, table[-1].expand(config.AUDIO_TOKENS - len(tokens), -1)))


class Imagined:
    """Subjects whose soft tokens are codes in noise: the decoder learns from them before the towers can see or hear."""

    def __init__(self, table: Tensor) -> None:
        self.draw, self.table = random.Random("imagined"), table
        self.generator = torch.Generator().manual_seed(5)
        self.sights, self.hearings = codes.codes()

    def __call__(self, kind: str) -> Subject:
        """Draw a picture or a sound."""
        if kind == "image":
            picture = pictures.pick(self.draw, (pictures.alone, pictures.several))(self.draw)
            tokens = self.tokens(self.sights, codes.sight(picture), config.IMAGE_TOKENS)
            return tokens, list(material.about_picture(picture))
        sound = pictures.pick(self.draw, (sounds.tone, sounds.chirp, sounds.beeps, sounds.beeps))(self.draw)
        tokens = self.tokens(self.hearings, codes.hearing(sound), pictures.pick(self.draw, range(4, 14)))
        return padded(tokens, self.table), list(material.about_sound(sound))

    def tokens(self, attributes: Sequence[Tensor], classes: Sequence[int], count: int) -> Tensor:
        """Return tokens [count, 128]: the sum of the codes, faint to clear, noise in common, and noise of each."""
        named = sum(found[one] for found, one in zip(attributes, classes, strict=True) if one != codes.NONE)
        clear = (0.15 + 0.35 * torch.rand((), generator=self.generator)) * config.HIDDEN**0.5
        common = 0.3 * torch.randn((1, config.HIDDEN), generator=self.generator)
        own = 0.9 * torch.randn((count, config.HIDDEN), generator=self.generator)
        return decoder.norm(clear * named + common + own, None)


class Sensed:
    """Pictures and sounds as the trained towers say them: the soft tokens of all are computed once."""

    def __init__(self, vision: Vision, audio: Audio, table: Tensor) -> None:
        self.draw = random.Random("sensed")
        self.subjects: dict[str, list[Subject]] = {"image": seen(vision), "audio": heard(audio, table)}

    def __call__(self, kind: str) -> Subject:
        """Pick a picture or a sound."""
        return pictures.pick(self.draw, self.subjects[kind])


@torch.no_grad()
def seen(vision: Vision) -> list[Subject]:
    """Return each picture's soft tokens, and what may be asked about it."""
    tokens = [vision.tokens(index) for index in torch.arange(len(vision.pictures)).split(BATCH)]
    asked = (list(material.about_picture(picture)) for picture in vision.pictures)
    return list(zip(torch.cat(tokens), asked, strict=True))


@torch.no_grad()
def heard(audio: Audio, table: Tensor) -> list[Subject]:
    """Return each sound's soft tokens, up to where it ends and filled as the reference does, and what may be asked."""
    found: list[Subject] = []
    for index, sound in enumerate(audio.sounds):
        tokens, padding = audio.tokens(torch.tensor([index]))
        found.append((padded(tokens[0][~padding[0]], table), list(material.about_sound(sound))))
    return found
