"""`parity ane-range`: does the model stay in the Neural Engine's range, and which α keeps it there?"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from implementations.ane.engine.limits import LIMIT
from implementations.ane.peaks import MARGIN, Peak, Range, judge, peaks_of
from parity.checkpoint import find_checkpoint
from parity.cli.options import Audios, Images, Json, Model, Prompt, Scenario, given_prompt, media, one_name
from parity.errors import ExitCode, UsageError
from parity.report.console import console, plain, print_line
from parity.report.fold import split
from parity.report.progress import TerminalProgress
from parity.report.table import Table
from parity.running.single import write_trace
from parity.scratch import scratch
from parity.traces.trace import Trace

Limit = Annotated[float, typer.Option("--limit", metavar="NUMBER", help="Largest magnitude that the engine keeps.")]


def command(
    *,
    model: Model = None,
    prompt: Prompt = None,
    image: Images = None,
    audio: Audios = None,
    scenario: Scenario = "one-shot",
    limit: Limit = LIMIT,
    as_json: Json = False,
) -> int:
    """Print how large each step grows in the oracle, and the α that keeps the residual stream in the ANE's range.

    Exit code 1: a step leaves the range whatever α is.
    """
    if not limit > 0:
        raise UsageError(f"--limit {limit:g} is not positive; the engine keeps magnitudes up to {LIMIT:g}")
    with scratch() as folder, TerminalProgress() as progress:
        path = write_trace(
            checkpoint=find_checkpoint(model),
            backend="oracle",
            dtype="float64",
            scenario=one_name(scenario, "--scenario"),
            prompt=given_prompt(prompt),
            media=media(image, audio),
            output=folder / "oracle",
            oracle=None,
            keep_tensors=False,
            progress=progress,
        )
        found = judge(peaks_of(Trace.read(path)), limit)
    if as_json:
        print(json.dumps(as_dict(found)))
    else:
        print_range(found, console())
    return ExitCode.DIVERGED if found.beyond else ExitCode.PARITY


def as_dict(found: Range) -> dict[str, Any]:
    """The range as JSON has it; magnitudes that are not finite are null."""
    return {
        "limit": found.limit,
        "alpha": found.alpha,
        "deciding": found.deciding.step if found.deciding else None,
        "beyond": [peak.step for peak in found.beyond],
        "peaks": [asdict(peak) | {"value": peak.value if _is_finite(peak) else None} for peak in found.peaks],
    }


def print_range(found: Range, out: Console) -> None:
    """Print the peaks in execution order, and what follows from them."""
    grid = Table("step", "peak", "with alpha", "worst", "phase", right=("peak", "with alpha"))
    for peak in found.peaks:
        scaled = _shown(peak.at(found.alpha)) if peak.carries else ""
        style = "red" if peak in found.beyond else ""
        cells = (_shown(peak.value), scaled, _place(peak), plain(peak.phase))
        grid.add(Text(plain(peak.family), style), *cells)
    grid.print(out, indent=0)
    print_line(out, ("alpha      ", "bold"), _proposal(found))
    for peak in found.beyond:
        print_line(out, ("beyond     ", "bold red"), _excess(peak, found))


def _proposal(found: Range) -> str:
    room = f"{MARGIN:.0%} of the limit of {_shown(found.limit)}"
    if found.deciding is None:
        return f"1: what alpha would scale stays within {room} as it is"
    step, peak = plain(found.deciding.step), _shown(found.deciding.value)
    return f"{found.alpha!r}, a power of two: {step} reaches {peak} and is kept within {room}"


def _excess(peak: Peak, found: Range) -> str:
    why = "it is not finite" if not _is_finite(peak) else "alpha does not scale it"
    return f"{plain(peak.step)} reaches {_shown(peak.value)}, beyond the limit of {_shown(found.limit)}; {why}"


def _place(peak: Peak) -> str:
    """The member of the family that peaks, by its number."""
    index = split(peak.step)[1]
    return "" if index is None or peak.family == peak.step else str(index)


def _shown(magnitude: float) -> str:
    """A magnitude, e.g. ``98,304`` or ``0.0123``."""
    if not math.isfinite(magnitude):
        return "not finite"
    return f"{magnitude:,.0f}" if magnitude >= 1000 else f"{magnitude:.3g}"


def _is_finite(peak: Peak) -> bool:
    return math.isfinite(peak.value)
