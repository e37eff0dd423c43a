"""The command that compares again at each save of a file of a port: watch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from parity.cli.comparing import compare
from parity.cli.guard import BROKEN_PIPE, INTERRUPTED, complain, guarded
from parity.cli.options import (
    Adapter,
    Audios,
    Candidates,
    Diagnosis,
    Dtypes,
    Images,
    Model,
    Prompt,
    Reference,
    Scenarios,
    Strict,
    Timeout,
    names,
)
from parity.errors import ExitCode, UsageError

_GLANCE = 50
"""Milliseconds between two looks; what is saved within one is one change."""


def watch(
    *,
    prompt: Prompt = None,
    image: Images = None,
    audio: Audios = None,
    model: Model = None,
    adapter: Adapter = None,
    reference: Reference = None,
    candidates: Candidates = "mlx",
    dtype: Dtypes = "float32",
    scenario: Scenarios = "one-shot",
    diagnosis: Diagnosis = True,
    strict: Strict = False,
    timeout: Timeout = None,
) -> int:
    """Compare, and compare again at each save of a Python file of the candidates, until an interrupt."""
    asked = dict(locals())
    from parity.discovery import source_of
    from parity.running.started import end_servers

    sources = [*dict.fromkeys(source_of(name) for name in names(candidates, "--candidates"))]
    code: int = ExitCode.USAGE
    for number, saved in enumerate(_saves(sources)):
        if saved:
            complain(f"saved: {', '.join(saved)}")
            end_servers()  # what is imported there may be what was saved
        code = guarded(lambda: compare(**asked))
        if code in (INTERRUPTED, BROKEN_PIPE) or (code == ExitCode.USAGE and number == 0):
            break  # nobody listens, or what was asked for cannot be
        complain(f"exit code {code}; a save in {' or '.join(map(str, sources))} compares again, an interrupt ends it")
    return code


def _saves(sources: Sequence[Path]) -> Iterator[list[str]]:
    """Names of the files that were saved: first none, then some at a time, also those of while one compared.

    A single file is looked at with its neighbours, which it may import; an editor may put another in its place.
    """
    try:
        from watchfiles import PythonFilter
        from watchfiles import watch as changes_in
    except ImportError as missing:
        raise UsageError("watching needs watchfiles: pip install 'gemma3n-parity[watch]'") from missing

    looked_at = changes_in(
        *(source if source.is_dir() else source.parent for source in sources),
        watch_filter=PythonFilter(),
        step=_GLANCE,
        rust_timeout=_GLANCE,
        yield_on_timeout=True,
        recursive=any(source.is_dir() for source in sources),
    )
    for number, changes in enumerate(looked_at):
        if changes or number == 0:
            yield sorted({Path(path).name for _, path in changes})
