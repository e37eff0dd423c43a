"""The command that says what a candidate's numbers cost against the original weights: cost."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.comparing import loadable, scenarios_of
from parity.cli.options import SEED, Dtype, Json, Model, Page, Reference, Scenario, one_name
from parity.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from parity.cost.measuring import Prompt

Candidate = Annotated[str, typer.Argument(metavar="NAME", help="The backend, with its options: onnx@type=q4.")]
Prompts = Annotated[
    Path | None,
    typer.Option("--prompts", metavar="FILE", help="A prompt a line (default: as many as --draws are drawn)."),
]
Draws = Annotated[int, typer.Option("--draws", min=1, help="How many prompts are drawn.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the draws: the same seed draws the same prompts.")]


def cost(
    candidate: Candidate,
    *,
    dtype: Dtype = "float32",
    model: Model = None,
    reference: Reference = None,
    scenario: Scenario = "one-shot",
    prompts: Prompts = None,
    draws: Draws = 64,
    seed: Seed = SEED,
    markdown: Page = None,
    as_json: Json = False,
) -> int:
    """Say what a candidate's numbers cost: tokens kept, KL divergence, and what each step costs by itself."""
    from parity.cost.measuring import CostRequest, drawn_prompts, measure
    from parity.discovery import require
    from parity.report.console import console
    from parity.report.cost import print_cost
    from parity.report.html.cost import write_page
    from parity.report.progress import TerminalProgress

    checkpoint, true = loadable(model, reference)
    require(candidate)
    (asked,) = scenarios_of(one_name(scenario, "--scenario"), (), true)
    given = _lines(prompts) if prompts else drawn_prompts(true, draws, seed)
    with TerminalProgress() as progress:
        found = measure(CostRequest(checkpoint, true, candidate, dtype, given, asked), progress)
    if markdown:
        write_page(found, shlex.join(["parity", *sys.argv[1:]]), markdown)
    if as_json:
        sys.stdout.write(json.dumps(found.to_json(), indent=1) + "\n")
    else:
        print_cost(found, console())
    return ExitCode.PARITY


def _lines(file: Path) -> tuple[Prompt, ...]:
    """The prompts of a file.

    Raises:
        UsageError: for one that cannot be read, or that has none.
    """
    from parity.cost.measuring import read_prompts

    try:
        found = read_prompts(file)
    except (FileNotFoundError, ValueError) as error:
        reason = "it does not exist" if isinstance(error, FileNotFoundError) else error
        raise UsageError(f"--prompts {file} cannot be read: {reason}; give a file of text in UTF-8") from error
    if not found:
        raise UsageError(f"--prompts {file} has no prompt; give one a line")
    return found
