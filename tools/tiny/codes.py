"""The codes that the towers learn to speak and the decoder to understand: one direction of the text's width per class.

Fixing them beforehand lets both sides be trained apart. They are orthogonal, so four classes fit into one soft token.
Shapes are among them, but nobody is asked for one: the tower tells them on 93 % of held-out pictures only.
"""

import torch
from torch import Tensor

from reference.common import pictures
from reference.common.pictures import Picture
from reference.common.sounds import Sound
from tools.tiny.config import HIDDEN

NONE = -1  # a question that does not arise, e.g. where several figures are
SIGHTS = (tuple(pictures.COLORS), pictures.SHAPES, pictures.NUMBERS, tuple(pictures.PLACES))
HEARINGS = (("tone", "chirp", "beeps"), ("low", "high", "rising", "falling"), pictures.NUMBERS)


def codes() -> tuple[list[Tensor], list[Tensor]]:
    """Return the codes [class, hidden] of each attribute of pictures, and of sounds; each code has length 1."""
    sizes = [len(classes) for classes in (*SIGHTS, *HEARINGS)]
    drawn = torch.randn((HIDDEN, sum(sizes)), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parts = list(torch.linalg.qr(drawn).Q.T.float().split(sizes))
    return parts[: len(SIGHTS)], parts[len(SIGHTS) :]


def sight(picture: Picture) -> list[int]:
    """Return the classes of a picture: colour, shape, count, place."""
    first = picture.figures[0]
    place = SIGHTS[3].index(picture.place) if picture.place else NONE
    return [SIGHTS[0].index(first.color), SIGHTS[1].index(first.shape), len(picture.figures) - 1, place]


def hearing(sound: Sound) -> list[int]:
    """Return the classes of a sound: kind, quality, count."""
    count = sound.count - 1 if sound.kind == "beeps" else NONE
    return [HEARINGS[0].index(sound.kind), HEARINGS[1].index(sound.quality), count]
