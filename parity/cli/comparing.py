"""The command that runs the reference and the candidates, and judges: compare."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from parity.cli.options import (
    SEED,
    Adapter,
    Audios,
    CostDraws,
    Diagnosis,
    Dtypes,
    Images,
    Json,
    Keep,
    Model,
    NamedCandidates,
    Prompt,
    Reference,
    Remember,
    Report,
    Scenarios,
    Strict,
    Table,
    Timeout,
    given_prompt,
    media,
    names,
)
from parity.errors import UsageError
from parity.names import file_name

if TYPE_CHECKING:
    from parity.checkpoint import Checkpoint
    from parity.compare import Request
    from parity.cost.result import Cost
    from parity.judging.judgement import Comparison
    from parity.media import Part
    from parity.report.gather import Gatherer


def compare(
    *,
    prompt: Prompt = None,
    image: Images = None,
    audio: Audios = None,
    model: Model = None,
    adapter: Adapter = None,
    reference: Reference = None,
    candidates: NamedCandidates = None,
    table: Table = None,
    dtype: Dtypes = "float32",
    scenario: Scenarios = "one-shot",
    report: Report = None,
    cost_draws: CostDraws = None,
    keep: Keep = None,
    diagnosis: Diagnosis = True,
    strict: Strict = False,
    timeout: Timeout = None,
    remember: Remember = True,
    as_json: Json = False,
) -> int:
    """Run the reference and the candidates, and judge every step against the measured floor."""
    from parity.checkpoint import find_checkpoint
    from parity.cli.learning import parties
    from parity.compare import Request
    from parity.cost.measuring import drawn_prompts
    from parity.discovery import reference_of, require
    from parity.report.html import require_templates
    from parity.report.json import prepare
    from parity.running.plan import require_admitted, require_dtypes, require_prompt

    if cost_draws and not report:
        raise UsageError("--cost-draws is for what a report says of quantised weights; give --report DIR")
    prompt, given = given_prompt(prompt), media(image, audio)
    named = None if candidates is None else names(candidates, "--candidates")
    dtypes = names(dtype, "--dtype")
    checkpoint = find_checkpoint(model, adapter)
    require_prompt(prompt)
    with parties(checkpoint, table, reference, named, remember=remember) as (known, backends):
        true = reference_of(checkpoint, known)
        scenarios = scenarios_of(scenario, given, true)
        for name in backends:
            require(name)
        require_admitted(checkpoint, true, prompt, given)
        if report:
            require_templates()
        for folder in filter(None, (report, keep)):
            prepare(folder)
        _require_free(keep, dtypes, scenarios)
        if len(dtypes) > 1:  # one alone is refused by the comparison, whose candidates are imported first
            require_dtypes(backends, dtypes)
        request = Request(
            checkpoint=checkpoint,
            candidates=backends,
            dtype=dtypes[0],
            scenarios=scenarios,
            prompt=prompt,
            media=given,
            reference=true,
            diagnose=diagnosis,
            strict=strict,
            timeout=timeout,
            remember=remember,
            cost_prompts=drawn_prompts(true, cost_draws, SEED) if cost_draws else (),
        )
        gatherer = _gatherer(request) if report else None
        requests = [replace(request, dtype=name, keep=_kept(keep, name, dtypes)) for name in dtypes]
        comparison = _compare(requests, gatherer)
        written = _write(comparison, gatherer, report) if report and gatherer else None
    costs = gatherer.costs if gatherer else ()
    _print(comparison, costs, written, keep if len(dtypes) == 1 else None, as_json=as_json)
    return comparison.exit_code


def loadable(model: str | None, named: str | None, adapter: Path | None = None) -> tuple[Checkpoint, str]:
    """The checkpoint, and the reference that is true for it."""
    from parity.checkpoint import find_checkpoint
    from parity.discovery import reference_of

    checkpoint = find_checkpoint(model, adapter)
    return checkpoint, reference_of(checkpoint, named)


def scenarios_of(text: str, given: Sequence[Part], true: str) -> tuple[str, ...]:
    """The scenarios of a reference that are named, refused here where one cannot be: loading takes long."""
    from parity.discovery import find_reference

    reference = find_reference(true)
    known = reference.with_media if given else tuple(reference.scenarios)
    found = names(text, "--scenario")
    if unknown := [name for name in found if name not in known and name != "all"]:
        other = "no scenario for pictures and sounds" if unknown[0] in reference.scenarios else "unknown scenario"
        raise UsageError(f"{other} {unknown[0]!r}; choose of {', '.join(known)}, or all")
    return known if "all" in found else found


def _require_free(keep: Path | None, dtypes: Sequence[str], scenarios: Sequence[str]) -> None:
    """Refuse to write over the traces of an earlier run."""
    for name in dtypes:
        folder = _kept(keep, name, dtypes)
        if taken := [folder / scenario for scenario in scenarios if folder and (folder / scenario).exists()]:
            raise UsageError(f"{taken[0]} exists already; remove it or give --keep another folder")


def _kept(keep: Path | None, dtype: str, dtypes: Sequence[str]) -> Path | None:
    """Where the traces of one dtype stay: several do not share a folder."""
    return keep / dtype if keep and len(dtypes) > 1 else keep


def _gatherer(request: Request) -> Gatherer:
    """What collects single steps' details; tokens are named by the checkpoint's own tokenizer."""
    from parity.report.gather import Gatherer
    from parity.report.vocabulary import read_vocabulary

    return Gatherer(lambda: read_vocabulary(request.checkpoint.path))


def _write(comparison: Comparison, gatherer: Gatherer, folder: Path) -> Path:
    from parity.reports import write_report

    return write_report(gatherer.report(comparison), folder)


def _compare(requests: Sequence[Request], gatherer: Gatherer | None) -> Comparison:
    """The comparisons of all dtypes as one."""
    from parity.compare import compare as run
    from parity.report.progress import TerminalProgress

    with TerminalProgress() as progress:
        look, told = (gatherer.look, gatherer.price) if gatherer else (None, None)
        done = [run(request, progress=progress, look=look, told=told) for request in requests]
    return replace(done[0], judgements=tuple(judgement for one in done for judgement in one.judgements))


def _print(
    comparison: Comparison, costs: Iterable[Cost], written: Path | None, keep: Path | None, *, as_json: bool
) -> None:
    from parity.report import sentences
    from parity.report.console import console, plain, print_line
    from parity.report.json import dumps
    from parity.report.terminal import print_comparison

    if as_json:
        sys.stdout.write(dumps(comparison))
        return
    out = console()
    print_comparison(comparison, out)
    for cost in costs:
        print_line(out, f"cost       {plain(cost.candidate)}: {plain(sentences.cost(cost))}")
    if written:
        print_line(out, f"report     {plain(written)}")
    if following := _next(comparison, keep):
        print_line(out, f"next       {plain(following)}")


def _next(comparison: Comparison, keep: Path | None) -> str:
    """What to type next, where a step diverged: the command that shows what the candidate has there."""
    for judgement in comparison.judgements:
        if first := judgement.first_divergence:
            show = f"--step {shlex.quote(first.step)} --phase {shlex.quote(first.phase)}"
            folder = (keep or Path("DIR")) / judgement.scenario / f"{file_name(judgement.candidate)}.lockstep"
            return f"{'' if keep else 'add --keep DIR, then '}parity show {shlex.quote(str(folder))} {show}"
    return ""
