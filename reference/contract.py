"""The contract of Gemma 3n: every step of the forward pass for one checkpoint's configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from parity.contract import Contract, Step
from reference.steps import StepAt
from reference.text import EMBED_STEPS, UNEMBED_STEPS
from reference.text_layer import LAYER_STEPS

LAYER_SCOPE = "text.layers.{layer}."
LOGITS = "text.logits"

IN_LAYERS = tuple(replace(step, name=LAYER_SCOPE + step.name) for step in LAYER_STEPS)
ALL_STEPS = (*EMBED_STEPS, *IN_LAYERS, *UNEMBED_STEPS)
"""Every family of steps with its site."""


def contract(config: Any) -> Contract:
    """The steps of a model with this text configuration (`transformers.Gemma3nTextConfig`), in execution order."""
    return Contract("gemma3n", tuple(_steps(config)), LOGITS)


def _steps(config: Any) -> Iterator[Step]:
    for family in EMBED_STEPS:
        yield from _around(family, config)
    for layer in range(config.num_hidden_layers):
        for step in IN_LAYERS:
            if step.only(config, layer):
                yield _step(step, layer=layer)
    for family in UNEMBED_STEPS:
        yield from _around(family, config)


def _around(family: StepAt, config: Any) -> Iterator[Step]:
    """The members of a family outside the layers: one a stream, one a kind of layer, or just one."""
    if "{i}" in family.name:
        yield from (_step(family, i=i) for i in range(1, config.altup_num_inputs))
    elif "{key}" in family.name or "{layer_type}" in family.name:
        yield from (_step(family, key=kind, layer_type=kind) for kind in sorted(set(config.layer_types)))
    else:
        yield _step(family)


def _step(family: StepAt, **fields: object) -> Step:
    return Step(
        name=family.name.format(**fields),
        axes=tuple(family.axes.split()),
        kind=family.kind,
        meaning=family.meaning.format(**fields),
        source=str(family.site),
        paper=family.paper,
        needs=family.needs,
    )
