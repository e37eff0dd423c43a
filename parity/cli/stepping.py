"""The command about the contract's steps: what they are, and the smallest fault that is seen at each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.comparing import loadable, scenarios_of
from parity.cli.options import (
    Audios,
    Dtype,
    Images,
    Json,
    Model,
    Prompt,
    Reference,
    Scenario,
    given_prompt,
    media,
    one_name,
)
from parity.errors import ExitCode

if TYPE_CHECKING:
    from parity.checkpoint import Checkpoint
    from parity.media import Part
    from parity.variants.sensitivity import Sensitivity


def steps(
    *,
    model: Model = None,
    reference: Reference = None,
    layer: Annotated[int | None, typer.Option("--layer", min=0, metavar="N", help="One layer's steps alone.")] = None,
    grep: Annotated[
        str, typer.Option("--grep", metavar="TEXT", help="Steps whose name, meaning or source has it.")
    ] = "",
    every: Annotated[
        bool, typer.Option("--all", help="Each layer's steps, instead of one for all that are alike.")
    ] = False,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Measure the smallest fault that is seen at each step.")
    ] = False,
    prompt: Prompt = None,
    image: Images = None,
    audio: Audios = None,
    dtype: Dtype = "float32",
    scenario: Scenario = "one-shot",
    as_json: Json = False,
) -> int:
    """List the steps of the contract: name, axes, meaning, source, paper; or what an ok of each is worth.

    Prompt, media, dtype and scenario are what the sensitivity is measured with.
    """
    from parity.report.console import console
    from parity.report.contract import contract_json, print_steps, select
    from parity.report.sensitivity import print_sensitivity, sensitivity_json
    from parity.running.single import contract_of

    if sensitivity:
        found = _measured(loadable(model, reference), given_prompt(prompt), media(image, audio), dtype, scenario)
        names = [step.name for step in select(found.contract, layer=layer, text=grep)]
        if as_json:
            print(json.dumps(sensitivity_json(found, names)))
        else:
            print_sensitivity(found, names, console(), folded=not every)
        return ExitCode.PARITY
    contract = contract_of(*loadable(model, reference))
    chosen = select(contract, layer=layer, text=grep)
    if as_json:
        print(json.dumps(contract_json(contract, chosen)))
    else:
        print_steps(contract, chosen, console(), folded=not every)
    return ExitCode.PARITY


def _measured(
    of: tuple[Checkpoint, str], prompt: str | None, given: tuple[Part, ...], dtype: str, scenario: str
) -> Sensitivity:
    """What is asked for is looked at before anything is loaded."""
    from parity.discovery import find_reference, require_dtype
    from parity.report.progress import TerminalProgress
    from parity.running.plan import require_admitted, require_floor, require_prompt
    from parity.variants.sensitivity import measured

    checkpoint, true = of
    arithmetic, (name,) = one_name(dtype, "--dtype"), scenarios_of(one_name(scenario, "--scenario"), given, true)
    require_floor(arithmetic)
    require_dtype(true, find_reference(true).dtypes, arithmetic)
    require_prompt(prompt)
    require_admitted(checkpoint, true, prompt, given)
    with TerminalProgress() as progress:
        return measured(
            checkpoint,
            dtype=arithmetic,
            scenario=name,
            prompt=prompt,
            media=given,
            progress=progress,
            reference=true,
        )
