"""Commands about variants, the known bugs that the harness is scored by: list, show, run, score."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.comparing import loadable
from parity.cli.options import Dtype, Dtypes, Json, Model, Page, Reference, names, one_name
from parity.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from parity.variant import Catalogue, Variant
    from parity.variants.scoring import Totals

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `parity variants list` says.")]
Component = Annotated[str, typer.Option("--component", metavar="NAME", help="Variants of this component alone.")]
At = Annotated[str, typer.Option("--at", metavar="PLACE", help="Where it is planted: a layer, or a tower's module.")]
Only = Annotated[str, typer.Option("--only", metavar="GLOB", help="Variants of such names, e.g. 'mask-*'.")]
Sample = Annotated[str, typer.Option("--sample", metavar="N/M", help="Every M-th variant, from the N-th.")]

variants = typer.Typer(no_args_is_help=True, help="Known bugs as code: what the harness finds, and where.")


@variants.command("list")
def list_variants(component: Component = "", reference: Reference = None) -> int:
    """List the variants: name, component, the step at which each must be found, the scenario that it needs."""
    from parity.report.console import console
    from parity.report.variants import print_list

    catalogue = _catalogue(None, reference)
    print_list(catalogue.of(component) if component else catalogue.variants, console())
    return ExitCode.PARITY


@variants.command()
def show(name: Name, reference: Reference = None) -> int:
    """Show one variant: what is wrong, where it was seen, which lines of the reference it changes."""
    from parity.report.console import console
    from parity.report.variants import print_variant

    catalogue = _catalogue(None, reference)
    print_variant(catalogue.get(name), catalogue, console())
    return ExitCode.PARITY


@variants.command()
def run(name: Name, model: Model = None, reference: Reference = None, dtype: Dtype = "float32", at: At = "") -> int:
    """Compare one variant with the reference in the scenario that it needs."""
    from parity.compare import Request, compare
    from parity.report.console import console
    from parity.report.progress import TerminalProgress
    from parity.report.terminal import print_comparison
    from parity.variant import find_variants

    checkpoint, true = loadable(model, reference)
    catalogue, arithmetic = find_variants(true), one_name(dtype, "--dtype")
    chosen = catalogue.get(name).at(at)
    candidate = f"{catalogue.reference}@variant={name}" + (f":at={at}" if at else "")
    media, prompt = catalogue.parts(chosen), catalogue.prompt
    request = Request(
        checkpoint=checkpoint,
        candidates=(candidate,),
        dtype=arithmetic,
        scenarios=(chosen.scenario,),
        prompt=prompt,
        media=media,
        reference=true,
    )
    with TerminalProgress() as progress:
        comparison = compare(request, progress=progress)
    print_comparison(comparison, console())
    return comparison.exit_code


@variants.command()
def score(
    *,
    model: Model = None,
    reference: Reference = None,
    dtype: Dtypes = "float32",
    only: Only = "*",
    component: Component = "",
    sample: Sample = "",
    markdown: Page = None,
    as_json: Json = False,
) -> int:
    """Run each variant as a candidate, and say which are found and where; exit 1 where a promise is not kept."""
    catalogue = _catalogue(model, reference)
    chosen = _chosen(catalogue, only, component, sample)
    every = [_scored(catalogue, chosen, model, each) for each in names(dtype, "--dtype")]
    if markdown:
        _write(every, markdown, catalogue)
    _print(every, as_json=as_json)
    return max(totals.exit_code for totals in every)


def _catalogue(model: str | None, reference: str | None) -> Catalogue:
    """The known bugs of a reference, or of the one for a checkpoint's type of model."""
    from parity.variant import find_variants

    return find_variants(loadable(model, reference)[1])


def _chosen(catalogue: Catalogue, only: str, component: str, text: str) -> tuple[Variant, ...]:
    """The variants that are asked for."""
    from parity.variant import sample

    found = catalogue.like(only)
    if component:
        found = tuple(variant for variant in catalogue.of(component) if variant in found)
    if not text:
        return found
    if not (numbers := re.fullmatch(r"(\d+)/(\d+)", text)):
        raise UsageError(f"--sample {text!r} is no sample; write 1/10 for every tenth")
    return sample(found, int(numbers[1]), int(numbers[2]))


def _scored(catalogue: Catalogue, chosen: tuple[Variant, ...], model: str | None, dtype: str) -> Totals:
    """The scores in one arithmetic, in the order of the catalogue."""
    from parity.checkpoint import find_checkpoint
    from parity.report.progress import TerminalProgress
    from parity.running.plan import require_floor
    from parity.variants.planting import Nursery
    from parity.variants.scoring import Totals

    require_floor(dtype)
    placed = [variant.at() for variant in chosen if variant.equivalent or variant.shows_in(dtype)]
    with TerminalProgress() as progress, Nursery(catalogue, find_checkpoint(model), dtype, progress) as nursery:
        scores = sorted(nursery.scores(placed), key=lambda score: placed.index(score.variant))
    return Totals(tuple(scores), dtype)


def _write(every: list[Totals], page: Path, catalogue: Catalogue) -> None:
    from parity.report.json import write_whole
    from parity.report.variants import markdown

    dtypes = ",".join(totals.dtype for totals in every)
    write_whole(page, markdown(every, f"parity variants score --dtype {dtypes} --markdown {page}", catalogue))


def _print(every: list[Totals], *, as_json: bool) -> None:
    from parity.report.console import console
    from parity.report.variants import as_json as plain_data
    from parity.report.variants import print_scores

    if as_json:
        data = [plain_data(totals) for totals in every]
        sys.stdout.write(json.dumps(data[0] if len(data) == 1 else data, indent=1) + "\n")
        return
    for totals in every:
        print_scores(totals, console())
