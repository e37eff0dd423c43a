"""The contract of Gemma 3n: every step of the forward pass for one checkpoint's configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parity.contract import Contract, Step
from reference.common.steps import StepAt
from reference.gemma3n.steps.audio import AUDIO_STEPS, audio_steps
from reference.gemma3n.steps.inputs import INPUT_STEPS
from reference.gemma3n.steps.text import EMBED_STEPS, HARD_STEPS, MERGED_AUDIO, MERGED_IMAGES, UNEMBED_STEPS
from reference.gemma3n.steps.text_layer import LAYER_STEPS
from reference.gemma3n.steps.vision import VISION_STEPS, vision_steps

if TYPE_CHECKING:
    from torch import nn
    from transformers.models.gemma3n.modeling_gemma3n import Gemma3nModel

TEXT_ALONE = tuple(step for step in HARD_STEPS if step.name.startswith("text."))
LAYER_SCOPE = "text.layers.{layer}."
LOGITS = "text.logits"

IN_LAYERS = tuple(replace(step, name=LAYER_SCOPE + step.name) for step in LAYER_STEPS)
ALL_STEPS = (
    *HARD_STEPS,
    *VISION_STEPS,
    MERGED_IMAGES,
    *AUDIO_STEPS,
    MERGED_AUDIO,
    *EMBED_STEPS,
    *IN_LAYERS,
    *UNEMBED_STEPS,
)
"""Every family of steps with its site."""

TOWERS = {"vision": "vision_tower", "audio": "audio_tower"}
"""Scopes of steps, and the modules whose they are."""


def towers_of(model: Gemma3nModel) -> Iterator[tuple[str, nn.Module]]:
    """The towers that a model has, by scope: a language model alone has none."""
    for scope, name in TOWERS.items():
        if hasattr(model, name):
            yield scope, getattr(model, name)


def steps_of(model: Gemma3nModel) -> tuple[StepAt, ...]:
    """The families of steps that a model has."""
    if dict(towers_of(model)):
        return ALL_STEPS
    return (*TEXT_ALONE, *EMBED_STEPS, *IN_LAYERS, *UNEMBED_STEPS)


def contract(model: Gemma3nModel) -> Contract:
    """The steps of a loaded model, in execution order."""
    return Contract("gemma3n", (*INPUT_STEPS, *_towers(model), *_language(model.config.get_text_config())), LOGITS)


def _towers(model: Gemma3nModel) -> Iterator[Step]:
    """From token ids to the embeddings of all modalities."""
    if not dict(towers_of(model)):
        yield from (family.step() for family in TEXT_ALONE)
        return
    yield from (family.step() for family in HARD_STEPS)
    yield from vision_steps(model)
    yield MERGED_IMAGES.step()
    yield from audio_steps(model)
    yield MERGED_AUDIO.step()


def _language(config: Any) -> Iterator[Step]:
    """From the embeddings to the logits; `config` is a `transformers.Gemma3nTextConfig`."""
    for family in EMBED_STEPS:
        yield from _around(family, config)
    for layer in range(config.num_hidden_layers):
        for step in IN_LAYERS:
            if step.only(config, layer):
                yield step.step(layer=layer)
    for family in UNEMBED_STEPS:
        yield from _around(family, config)


def _around(family: StepAt, config: Any) -> Iterator[Step]:
    """The members of a family outside the layers: one a stream, one a kind of layer, or just one."""
    if "{i}" in family.name:
        yield from (family.step(i=i) for i in range(1, config.altup_num_inputs))
    elif "{key}" in family.name or "{layer_type}" in family.name:
        yield from (family.step(key=kind, layer_type=kind) for kind in sorted(set(config.layer_types)))
    else:
        yield family.step()
