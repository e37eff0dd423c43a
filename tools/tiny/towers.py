"""Train the towers and their embedders to speak the codes: the mean of a picture's or sound's soft tokens names it.

What precedes the trained part stays as it was drawn and is computed once: for pictures the stem and the first three of
four stages, whose output still holds where everything is, for sounds the subsampling convolutions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reference.common.pictures import Picture
from reference.common.sounds import Sound
from tools.tiny import codes, optimise
from tools.tiny.optimise import Schedule

BATCH = 16
# A soft token has length sqrt(128) = 11.3: this brings the cosine with a code into the range of logits.
SCALE = 1.5


class Vision:
    """The vision tower and its embedder, from the third stage's output on."""

    def __init__(self, model: Any, pictures: Sequence[Picture]) -> None:
        self.tower, self.embedder = model.model.vision_tower.timm_model, model.model.embed_vision
        self.pictures = pictures
        self.classes = torch.tensor([codes.sight(picture) for picture in pictures])
        self.codes = codes.codes()[0]
        self.stage = torch.cat([self.early(pictures[start : start + 64]) for start in range(0, len(pictures), 64)])

    @torch.no_grad()
    def early(self, pictures: Sequence[Picture]) -> Tensor:
        """Compute [picture, 40, 12, 12]."""
        pixels = torch.from_numpy(np.stack([picture.pixels() for picture in pictures]))
        found = self.tower.conv_stem(pixels.permute(0, 3, 1, 2).float() / 255)
        for blocks in self.tower.blocks[:3]:
            found = blocks(found)
        return found

    def tokens(self, index: Tensor) -> Tensor:
        """Compute soft tokens [picture, 16, 128]."""
        third = self.stage[index]
        fused = self.tower.msfa([third, self.tower.blocks[3](third)])
        return self.embedder(inputs_embeds=fused.flatten(2).permute(0, 2, 1) * fused.shape[1] ** 0.5)

    def means(self, index: Tensor) -> Tensor:
        """Compute the mean soft token of each picture [picture, 128]."""
        return self.tokens(index).mean(1)


class Audio:
    """The audio tower and its embedder, from the subsampled frames on."""

    def __init__(self, model: Any, extractor: Any, sounds: Sequence[Sound]) -> None:
        self.tower, self.embedder = model.model.audio_tower, model.model.embed_audio
        self.sounds = sounds
        self.classes = torch.tensor([codes.hearing(sound) for sound in sounds])
        self.codes = codes.codes()[1]
        self.frames = [self.early(extractor, sound) for sound in sounds]

    @torch.no_grad()
    def early(self, extractor: Any, sound: Sound) -> tuple[Tensor, Tensor]:
        """Compute subsampled frames [frame, 64], and which of them are padding."""
        mel = extractor([sound.samples().astype(np.float32) / 32768], return_tensors="pt")
        frames = self.tower.subsample_conv_projection(mel["input_features"])[0]
        padding = ~mel["input_features_mask"][0]
        places = torch.arange(len(frames)) * 4  # two convolutions of stride 2
        return frames, padding[places.clamp(max=len(padding) - 1)]

    def tokens(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Compute soft tokens [sound, token, 128], and which of them are padding."""
        chosen = [self.frames[one] for one in index.tolist()]
        frames = torch.nn.utils.rnn.pad_sequence([one for one, _ in chosen], batch_first=True)
        padding = torch.nn.utils.rnn.pad_sequence(
            [one for _, one in chosen], batch_first=True, padding_value=1.0
        ).bool()
        for block in self.tower.conformer:
            frames = block(frames, padding)
        frames, padding = frames[:, ::4], padding[:, ::4]  # conf_reduction_factor
        return self.embedder(inputs_embeds=frames.masked_fill(padding[..., None], 0.0)), padding

    def means(self, index: Tensor) -> Tensor:
        """Compute the mean soft token of each sound [sound, 128]."""
        tokens, padding = self.tokens(index)
        heard = (~padding)[..., None]
        return (tokens * heard).sum(1) / heard.sum(1)


def train(name: str, tower: Vision | Audio, parameters: Sequence[Tensor], schedule: Schedule) -> None:
    """Train a tower: each attribute's class must be the code nearest to the mean."""
    generator = torch.Generator().manual_seed(1)

    def step() -> tuple[Tensor, str]:
        index = torch.randint(0, len(tower.classes), (BATCH,), generator=generator)
        return loss(tower.means(index), tower.classes[index], tower.codes)

    optimise.minimise(name, parameters, schedule, step)


def loss(means: Tensor, classes: Tensor, attributes: Sequence[Tensor]) -> tuple[Tensor, str]:
    """Return the loss summed over attributes, and the share right of each."""
    total, shares = means.new_zeros(()), []
    for column, attribute in enumerate(attributes):
        known = classes[:, column] != codes.NONE
        if not known.any():
            continue
        logits, right = SCALE * means[known] @ attribute.T, classes[known, column]
        total = total + optimise.cross_entropy(logits, right)
        shares.append(f"{float((logits.argmax(1) == right).float().mean()):.2f}")
    return total, f"loss {float(total):.2f}  right {' '.join(shares)}"
