"""Soft tokens in the places of their placeholders, whatever the graphs give; no graph is exported here."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from implementations.gemma3n.config import Config
from implementations.gemma3n.preprocessing.inputs import Media, Sound
from implementations.onnx.package.folder import AUDIO, VISION
from implementations.onnx.senses import Senses, filled
from parity.errors import UsageError
from parity.tap import SILENT, ScopedTap
from reference.tiny import path

CONFIG = Config.from_directory(path())
HIDDEN, SEEN, HEARD = CONFIG.text.hidden_size, CONFIG.vision.tokens, CONFIG.audio_soft_tokens_per_image
IDS = np.array([[2, *[CONFIG.image_token_id] * SEEN, *[CONFIG.audio_token_id] * HEARD, 3]])
PIXELS = np.zeros((1, 3, 64, 128), np.float32)
FRAMES = 4 * 4 * HEARD
"""As many as soft tokens are made of: subsampling keeps every fourth, and the conformer every fourth of those."""


class Toy:
    """Stands for a graph of pictures of 64 x 128."""

    def __init__(self, name):
        self.name = f"{name}.onnx"

    def size(self, name):
        return (0, 3, 64, 128)


def sound(frames):
    return Sound(np.zeros((1, frames, 128), np.float32), np.ones((1, frames), bool))


def run(graph, feeds):
    """Ones of a picture, twos of a sound."""
    if graph.name == "vision_encoder.onnx":
        return {"image_features": np.ones((len(feeds["pixel_values"]), SEEN, HIDDEN), np.float32)}
    return {"audio_features": np.full((len(feeds["input_features"]), HEARD, HIDDEN), 2, np.float32)}


def merged(media, ids=IDS, names=(VISION, AUDIO), tap=SILENT):
    """Embeddings of zeros, with media."""
    embedded = np.zeros((*ids.shape, HIDDEN), np.float32)
    return Senses(CONFIG, {name: Toy(name) for name in names}).merged(embedded, ids, media, run, tap=tap)


def test_rows_stand_in_their_places_row_by_row():
    """The second picture's behind the first's, wherever the rows of the batch have places; what was given is kept."""
    places = np.array([[True, False, True], [False, False, False], [False, True, True]])
    soft = np.arange(1.0, 9).reshape(2, 2, 2)
    embedded = np.zeros((3, 3, 2))
    assert filled(embedded, places, soft)[..., 0].tolist() == [[1, 0, 3], [0, 0, 0], [0, 5, 7]]
    assert not embedded.any()


def test_a_picture_and_a_sound():
    """Each in its places; text between and around them is as it was."""
    found = merged(Media(PIXELS, sound(FRAMES)))
    assert found[0, :, 0].tolist() == [0, *[1] * SEEN, *[2] * HEARD, 0]
    assert (found == found[..., :1]).all()


def test_what_a_tap_answers_goes_on():
    """The picture's embeddings first, as the contract has them; then the sound's in what was answered."""
    said = []

    def answer(name, value):
        said.append(name)
        return value + 10

    found = merged(Media(PIXELS, sound(FRAMES)), tap=ScopedTap(answer))
    assert said == ["text.merged.image", "text.merged.audio"]
    assert found[0, :, 0].tolist() == [20, *[21] * SEEN, *[12] * HEARD, 20]


@pytest.mark.parametrize(
    ("media", "names", "said"),
    [
        (Media(PIXELS[:, :, :, :64]), (VISION,), "vision_encoder.onnx takes pictures of 64 x 128, not of 64 x 64"),
        (Media(sound=sound(FRAMES + 1)), (AUDIO,), f"a clip makes {HEARD + 1} soft tokens.* has places for {HEARD}"),
        (Media(np.repeat(PIXELS, 2, axis=0)), (VISION,), f"{2 * SEEN} soft tokens for {SEEN} places in the prompt"),
        (Media(PIXELS), (), "no graph vision_encoder, so that it takes no pictures"),
        (Media(sound=sound(16)), (VISION,), "no graph audio_encoder, so that it takes no sounds"),
    ],
    ids=["size", "frames", "places", "no eyes", "no ears"],
)
def test_what_does_not_fit_is_refused(media, names, said):
    with pytest.raises(UsageError, match=said) as raised:
        merged(media, names=names)
    assert "\n" not in str(raised.value)
