"""The words that variants are written in.

`line` is wrong wherever its function runs; `own` is wrong in one module. `here` stands for a helper of
`reference.gemma3n.variants.helpers`, where a wrong line needs more than an expression.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parity.site import Edit
from parity.variant import PLACE, Variant
from reference.gemma3n.steps.source import MODELING

LAYER = "3"
"""Where a variant of the text layers is planted: sliding, sparse, with keys of its own."""

HELPERS = "__import__('reference.gemma3n.variants.helpers', fromlist=['_'])"

PICTURE, SOUND = ("gradient.png",), ("low-tone.wav", "three-high-beeps.wav")
"""A picture that shows any shift, flip or swap; two sounds of unequal length, so that one is padded."""

RINGS, STEREO, GREY = ("turned-rings.png",), ("stereo-chirps.wav",), ("deep-grey.png",)
"""What must be turned and resized; mixed and resampled; brought from 16 bits to 8."""

COARSE = ("bfloat16", "float16")


def line(function: str, old: str, new: str) -> Edit:
    """The text `old` becomes `new`; `function` is ``Class.function`` of the modeling file, or has its module."""
    return Edit(function if ":" in function else f"{MODELING}:{function}", old, new.replace("HELPERS", HELPERS))


def own(function: str, old: str, new: str, owner: str = "") -> Edit:
    """The expression `old` becomes `new` in the module that deviates, which is `owner` (or the function's ``self``)."""
    return line(function, old, f"({new} if DEVIANT{f'[{owner}]' if owner else ''} else {old})")


def variant(name: str, component: str, meaning: str, first: str, *edits: Edit, **more: Any) -> Variant:
    """A variant; `more` are further fields of `parity.variant.Variant`."""
    return Variant(name, component, meaning, first, edits, **more)


def in_layer(name: str, component: str, part: str, meaning: str, step: str, *edits: Edit, **more: Any) -> Variant:
    """A variant of one text layer: of its module `part` (empty: the layer itself), at the layer's step `step`."""
    module = f"model.language_model.layers.{{place}}.{part}".rstrip(".")
    where = {"place": LAYER, "module": module, **more}
    return Variant(name, component, meaning, f"text.layers.{{place}}.{step}", edits, **where)


def in_text(name: str, component: str, part: str, meaning: str, step: str, *edits: Edit, **more: Any) -> Variant:
    """A variant of the language model around its layers; `part` is its module, empty where the line is the only one."""
    module = f"model.language_model.{part}" if part else ""
    return Variant(name, component, meaning, f"text.{step}", edits, module, **more)


def _of_tower(scope: str, tower: str, media: tuple[str, ...]) -> Callable[..., Variant]:
    """A word for variants of a module `part` of a tower (empty: of all), in each place where the step is of that kind.

    The step is the module's own (empty: its output), or the tower's where there is no module. The place is the module;
    given as `place`, it is what ``{place}`` stands for in both names, and empty where there is no other.
    """

    def write(name: str, component: str, part: str, meaning: str, step: str, *edits: Edit, **more: Any) -> Variant:
        if part and "place" not in more:
            more["place"], part, step = part, PLACE, f"{PLACE}.{step}".rstrip(".")
        fields = {"module": f"{tower}.{part}" if part else "", "media": media, **more}
        return Variant(name, component, meaning, f"{scope}.{step}", edits, **fields)

    return write


in_vision = _of_tower("vision", "model.vision_tower.timm_model", PICTURE)
in_audio = _of_tower("audio", "model.audio_tower", SOUND)
