"""Commands that run one backend, or ask how it is: trace, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parity.cli.options import (
    Adapter,
    Audios,
    Dtype,
    Images,
    Model,
    Prompt,
    Reference,
    Scenario,
    given_prompt,
    media,
    names,
    one_name,
)
from parity.errors import ExitCode


def trace(
    *,
    backend: Annotated[str, typer.Option("--backend", metavar="NAME|oracle", help="Who runs; oracle: the reference.")],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="The trace's folder.")],
    model: Model = None,
    adapter: Adapter = None,
    reference: Reference = None,
    dtype: Dtype = "float32",
    scenario: Scenario = "one-shot",
    prompt: Prompt = None,
    image: Images = None,
    audio: Audios = None,
    oracle: Annotated[
        Path | None, typer.Option("--oracle", metavar="TRACE", help="Run in lockstep with this trace of the oracle.")
    ] = None,
    no_tensors: Annotated[bool, typer.Option("--no-tensors", help="Keep statistics only.")] = False,
) -> int:
    """Write what one party says of each step to a folder, to be judged later or elsewhere."""
    from parity.checkpoint import find_checkpoint
    from parity.report.console import plain
    from parity.report.progress import TerminalProgress
    from parity.running.single import write_trace

    name = one_name(scenario, "--scenario")
    arithmetic = one_name(dtype, "--dtype")
    prompt = given_prompt(prompt)
    with TerminalProgress() as progress:
        path = write_trace(
            checkpoint=find_checkpoint(model, adapter),
            backend=backend,
            dtype=arithmetic,
            scenario=name,
            prompt=prompt,
            media=media(image, audio),
            output=output,
            oracle=oracle,
            keep_tensors=not no_tensors,
            progress=progress,
            reference=reference,
        )
    print(plain(path))
    return ExitCode.PARITY


def doctor(
    candidates: Annotated[
        str, typer.Option("--candidates", envvar="PARITY_CANDIDATES", metavar="NAME[,NAME]", help="Default: all.")
    ] = "",
) -> int:
    """Say what is installed, what can run, and how to cure what cannot."""
    from parity.report.console import console
    from parity.report.records import print_findings
    from parity.running.single import health

    backends = names(candidates, "--candidates") if candidates else ()
    good = print_findings(health(backends), console())
    return ExitCode.PARITY if good else ExitCode.UNAVAILABLE
