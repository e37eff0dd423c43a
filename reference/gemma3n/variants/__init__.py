"""Known bugs of ports as variants of the reference; see docs/variants.md for how to add one.

This package imports no framework: the catalogue is listed where torch is not installed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from parity.errors import UsageError
from parity.variant import Catalogue
from reference.gemma3n.variants import (
    altup,
    arithmetic,
    attention,
    audio,
    cache,
    conformer,
    embeddings,
    head,
    inputs,
    laurel,
    masks,
    mlp,
    norms,
    per_layer_inputs,
    reorderings,
    rope,
    vision,
)

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
PROMPT = "Hello world, what do you see?"

COMPONENTS = (
    inputs, embeddings, vision, audio, conformer, per_layer_inputs, altup, laurel, masks, rope, attention, cache, mlp,
    norms, head, arithmetic, reorderings,
)  # fmt: skip


@functools.cache
def catalogue() -> Catalogue:
    """All variants, for the entry point."""
    every = tuple(each for component in COMPONENTS for each in component.VARIANTS)
    return Catalogue(every, PROMPT, SAMPLES, "transformers")


def asked_by(options: Mapping[str, str]) -> list[tuple[str, str]]:
    """The variants that options name, several with ``+`` between, and their place.

    Raises:
        UsageError: for a place of no variant.
    """
    place = options.get("at", "")
    if place and "variant" not in options:
        raise UsageError(f"the reference's option at={place} is the place of no variant; give variant=NAME:at={place}")
    return [(name, place) for name in options["variant"].split("+")] if "variant" in options else []
