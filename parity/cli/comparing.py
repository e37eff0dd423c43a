"""The command that runs the reference and the candidates, and judges: compare."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from parity.cli.options import (
    Candidates,
    Dtypes,
    Json,
    Keep,
    Model,
    Prompt,
    Report,
    Scenarios,
    given_prompt,
    names,
)
from parity.errors import UsageError

if TYPE_CHECKING:
    from parity.compare import Request
    from parity.verdict import Comparison

REFERENCE = "transformers"


def compare(
    *,
    prompt: Prompt = None,
    model: Model = None,
    candidates: Candidates = "mlx",
    dtype: Dtypes = "float32",
    scenario: Scenarios = "one-shot",
    report: Report = None,
    keep: Keep = None,
    as_json: Json = False,
) -> int:
    """Run the reference and the candidates, and judge every step against the measured floor."""
    from parity.checkpoint import find_checkpoint
    from parity.compare import Request, require_dtype
    from parity.report.json import prepare, write_comparison

    prompt = given_prompt(prompt)
    backends, dtypes, scenarios = names(candidates, "--candidates"), names(dtype, "--dtype"), _scenarios(scenario)
    for name in dtypes:
        require_dtype(backends, name)
    for folder in filter(None, (report, keep)):
        prepare(folder)
    _require_free(keep, dtypes, scenarios)
    request = Request(find_checkpoint(model), backends, dtypes[0], scenarios, prompt)
    comparison = _compare([replace(request, dtype=name, keep=_kept(keep, name, dtypes)) for name in dtypes])
    written = write_comparison(comparison, report) if report else None
    _print(comparison, written, keep if len(dtypes) == 1 else None, as_json=as_json)
    return comparison.exit_code


def _scenarios(text: str) -> tuple[str, ...]:
    """The scenarios that are named, refused here where one is unknown: loading takes long."""
    from parity.backend import Reference
    from parity.discovery import REFERENCES, find

    reference = find(REFERENCE, REFERENCES)
    known = reference.scenarios if issubclass(reference, Reference) else {}
    found = names(text, "--scenario")
    if unknown := [name for name in found if name not in known and name != "all"]:
        raise UsageError(f"unknown scenario {unknown[0]!r}; choose of {', '.join(known)}, or all")
    return tuple(known) if "all" in found else found


def _require_free(keep: Path | None, dtypes: Sequence[str], scenarios: Sequence[str]) -> None:
    """Refuse to write over the traces of an earlier run."""
    for name in dtypes:
        folder = _kept(keep, name, dtypes)
        if taken := [folder / scenario for scenario in scenarios if folder and (folder / scenario).exists()]:
            raise UsageError(f"{taken[0]} exists already; remove it or give --keep another folder")


def _kept(keep: Path | None, dtype: str, dtypes: Sequence[str]) -> Path | None:
    """Where the traces of one dtype stay: several do not share a folder."""
    return keep / dtype if keep and len(dtypes) > 1 else keep


def _compare(requests: Sequence[Request]) -> Comparison:
    """The comparisons of all dtypes as one."""
    from parity.compare import compare as run
    from parity.report.progress import TerminalProgress

    with TerminalProgress() as progress:
        done = [run(request, progress=progress) for request in requests]
    return replace(done[0], judgements=tuple(judgement for one in done for judgement in one.judgements))


def _print(comparison: Comparison, written: Path | None, keep: Path | None, *, as_json: bool) -> None:
    from parity.report.console import console, plain, print_line
    from parity.report.json import dumps
    from parity.report.terminal import print_comparison

    if as_json:
        sys.stdout.write(dumps(comparison))
        return
    out = console()
    print_comparison(comparison, out)
    if written:
        print_line(out, f"report     {plain(written)}")
    if following := _next(comparison, keep):
        print_line(out, f"next       {plain(following)}")


def _next(comparison: Comparison, keep: Path | None) -> str:
    """What to type next, where a step diverged: the command that shows what the candidate has there."""
    for judgement in comparison.judgements:
        if first := judgement.first_divergence:
            show = f"--step {shlex.quote(first.step)} --phase {shlex.quote(first.phase)}"
            folder = (keep or Path("DIR")) / judgement.scenario / f"{judgement.candidate}.lockstep"
            return f"{'' if keep else 'add --keep DIR, then '}parity show {shlex.quote(str(folder))} {show}"
    return ""
