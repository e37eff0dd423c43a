"""What the embedded checkpoint is taught to say: questions and answers on pictures, sounds and plain text.

Everything is drawn from seeds. The names of the splits are the seeds: what is held out never appears in training.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from reference.common import pictures, sounds
from reference.common.pictures import Picture
from reference.common.sounds import Sound

TRAINING: Final = "1"
HELD_OUT: Final = "held out"

# The kind of a question, its wordings, its answer.
Asked = tuple[str, tuple[str, ...], str]


@dataclass(frozen=True)
class Exchange:
    """One question with its answer; `kind` groups exchanges in a table of accuracies."""

    kind: str
    question: str
    answer: str


# Each kind of question in two wordings.
COLOR: Final = ("What color is it?", "What is the color?")
COUNT: Final = ("How many?", "How many do you see?")
PLACE: Final = ("Where is it?", "Where do you see it?")
SEE: Final = ("What do you see?", "What is in the image?")
PITCH: Final = ("High or low?", "Is it high or low?")
DIRECTION: Final = ("Rising or falling?", "Is it rising or falling?")
BEEPS: Final = ("How many beeps?", "How many do you hear?")
HEAR: Final = ("What do you hear?", "What is in the audio?")

TEXT: Final = tuple(
    Exchange("text", question, answer)
    for question, answer in (
        ("Hello", "Hello!"),
        ("Hi", "Hello!"),
        ("Hello world", "Hello!"),
        ("Who are you?", "A small model."),
        ("How are you?", "I am well."),
        ("What can you do?", "I can see and hear."),
        ("Thank you", "You are welcome."),
        ("Goodbye", "Goodbye!"),
        ("What color is grass?", "green"),
        ("What color is the sky?", "blue"),
        ("What color is the sun?", "yellow"),
        ("What color is a tomato?", "red"),
        ("What shape is the moon?", "circle"),
        ("What comes after one?", "two"),
        ("What comes after two?", "three"),
        ("What comes after three?", "four"),
        ("What is one and one?", "two"),
        ("What is one and two?", "three"),
        ("What is two and two?", "four"),
        ("What is the opposite of high?", "low"),
        ("What is the opposite of low?", "high"),
        ("What is the opposite of rising?", "falling"),
        ("What is the opposite of falling?", "rising"),
        ("How many sides has a triangle?", "three"),
        ("How many sides has a square?", "four"),
        ("Can you see?", "yes"),
        ("Can you hear?", "yes"),
        ("Can you fly?", "no"),
    )
)


def about_picture(picture: Picture) -> Iterator[Asked]:
    """Yield kind, wordings and answer of each question about a picture."""
    first = picture.figures[0]
    yield "color", COLOR, first.color
    yield "count", COUNT, pictures.NUMBERS[len(picture.figures) - 1]
    yield "picture", SEE, pictures.phrase(picture)
    if picture.place:
        yield "place", PLACE, picture.place


def about_sound(sound: Sound) -> Iterator[Asked]:
    """Yield kind, wordings and answer of each question about a sound."""
    if sound.kind == "chirp":
        yield "direction", DIRECTION, sound.quality
    else:
        yield "pitch", PITCH, sound.quality
    if sound.kind == "beeps":
        yield "beeps", BEEPS, pictures.NUMBERS[sound.count - 1]
    yield "sound", HEAR, sounds.phrase(sound)


def worded(draw: random.Random, asked: Iterable[Asked]) -> list[Exchange]:
    """Choose a wording of each question."""
    return [Exchange(kind, pictures.pick(draw, wordings), answer) for kind, wordings, answer in asked]


def draw_pictures(split: str, count: int) -> list[Picture]:
    """Draw pictures of a split; a longer list begins with the shorter."""
    draw = random.Random(f"pictures {split}")
    return [(pictures.alone, pictures.several)[index % 2](draw) for index in range(count)]


def draw_sounds(split: str, count: int) -> list[Sound]:
    """Draw sounds of a split; a longer list begins with the shorter."""
    draw = random.Random(f"sounds {split}")
    makers = (sounds.tone, sounds.chirp, sounds.beeps, sounds.beeps)
    return [makers[index % 4](draw) for index in range(count)]


def messages(question: str, *media: str, answer: str | None = None) -> list[dict[str, Any]]:
    """Return the dialogue as a chat template takes it: media, then the question, then the answer if given."""
    asked: dict[str, Any] = {"role": "user", "content": [*({"type": kind} for kind in media), text(question)]}
    return [asked] if answer is None else [asked, {"role": "assistant", "content": [text(answer)]}]


def text(content: str) -> dict[str, str]:
    """Return a part of text."""
    return {"type": "text", "text": content}
