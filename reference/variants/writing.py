"""The words that variants are written in.

`line` is wrong wherever its function runs; `own` is wrong in one module. `here` stands for a helper of
`reference.variants.helpers`, where a wrong line needs more than an expression.
"""

from __future__ import annotations

from typing import Any

from parity.variant import Variant
from parity.weave import Edit
from reference.steps import MODELING

LAYER = 3
"""Where a variant of the text layers is planted: sliding, sparse, with keys of its own."""

HELPERS = "__import__('reference.variants.helpers', fromlist=['_'])"

PICTURE, SOUND = ("gradient.png",), ("low-tone.wav", "three-high-beeps.wav")
"""A picture that shows any shift, flip or swap; two sounds of unequal length, so that one is padded."""

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
    module = f"model.language_model.layers.{{layer}}.{part}".rstrip(".")
    place = {"layer": LAYER, "module": module, **more}
    return Variant(name, component, meaning, f"text.layers.{{layer}}.{step}", edits, **place)


def in_text(name: str, component: str, part: str, meaning: str, step: str, *edits: Edit, **more: Any) -> Variant:
    """A variant of the language model around its layers; `part` is its module, empty where the line is the only one."""
    module = f"model.language_model.{part}" if part else ""
    return Variant(name, component, meaning, f"text.{step}", edits, module, **more)


def in_vision(name: str, component: str, part: str, meaning: str, step: str, *edits: Edit, **more: Any) -> Variant:
    """A variant of one module of the vision tower (empty: of all)."""
    module = f"model.vision_tower.timm_model.{part}" if part else ""
    return Variant(name, component, meaning, f"vision.{step}", edits, module, **{"media": PICTURE, **more})


def in_audio(name: str, component: str, part: str, meaning: str, step: str, *edits: Edit, **more: Any) -> Variant:
    """A variant of one module of the audio tower (empty: of all); its step is the module's, or is written in full."""
    module = f"model.audio_tower.{part}" if part else ""
    first = step if step.startswith(("audio.", "embed_audio.")) else f"audio.{part}.{step}"
    return Variant(name, component, meaning, first, edits, module, **{"media": SOUND, **more})
