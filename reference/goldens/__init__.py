"""The goldens of the embedded checkpoint: which there are, and where they lie.

To add one, add a line to `TABLE` and type ``parity golden update --only NAME``. This module imports no framework.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from parity.contract import Step
from parity.golden.sets import Entry, GoldenSet
from parity.media import Medium, Part
from reference.common.steps import StepAt

ROOT = Path(__file__).resolve().parent
SAMPLES = ROOT.parents[1] / "samples"
"""Pictures and sounds; they are needed to make a golden, not to check one, for it keeps its own copies."""

PROMPT = "Hello world, what do you see?"


def _text(scenario: str) -> Entry:
    return Entry(scenario, scenario, PROMPT)


def _media(scenario: str, *files: str) -> Entry:
    """A golden of samples of one kind, with which its name begins."""
    kind: Medium = "image" if files[0].endswith(".png") else "audio"
    return Entry(f"{kind}.{scenario}", scenario, PROMPT, tuple(Part(kind, str(SAMPLES / file)) for file in files))


TABLE = (
    _text("one-shot"),
    _text("cached"),
    _text("decode"),
    _text("chunked"),
    _text("long"),
    _text("warm"),
    _text("batch"),
    _text("square"),
    _text("outside"),
    _media("one-shot", "gradient.png"),
    _media("decode", "red-circle.png"),
    _media("batch", "three-blue-squares.png", "yellow-triangle.png"),
    _media("one-shot", "low-tone.wav"),
    _media("decode", "three-high-beeps.wav"),
)


def catalogue() -> GoldenSet:
    """The set, for the entry point."""
    return GoldenSet(ROOT / "tiny", TABLE, steps=_steps())


def _steps() -> str:
    """Digest of what the table of steps says of their values; it is there without torch, other than the contract."""
    from reference.gemma3n.steps.contract import ALL_STEPS
    from reference.gemma3n.steps.inputs import INPUT_STEPS

    steps: tuple[Step | StepAt, ...] = (*INPUT_STEPS, *ALL_STEPS)
    binding = [(step.name, step.axes, step.kind, step.needs) for step in steps]
    return hashlib.sha256(json.dumps(binding).encode()).hexdigest()[:16]
