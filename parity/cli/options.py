"""Options that commands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from parity.errors import UsageError
from parity.media import Medium, Part
from parity.running.process import PATIENCE, TIMEOUT

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        envvar="PARITY_MODEL",
        metavar="DIR|HUB_ID",
        help="Checkpoint: a directory or a hub id (default: the embedded tiny one).",
    ),
]
Adapter = Annotated[
    Path | None,
    typer.Option(
        "--adapter",
        envvar="PARITY_ADAPTER",
        metavar="DIR",
        help="A LoRA adapter, as PEFT saves it: every party merges it into the checkpoint.",
    ),
]
Standard = Annotated[
    str | None,
    typer.Option(
        "--reference", metavar="NAME", help="The side that is true (default: the one installed for any model)."
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        envvar="PARITY_REFERENCE",
        metavar="NAME",
        help="The backend that is true (default: the installed one for the checkpoint's type of model).",
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        envvar="PARITY_PROMPT",
        help="The text (default: one token, the lightest case to debug).",
    ),
]
Images = Annotated[
    list[Path] | None,
    typer.Option("--image", envvar="PARITY_IMAGE", metavar="FILE", help="A picture before the text; repeatable."),
]
Audios = Annotated[
    list[Path] | None,
    typer.Option("--audio", envvar="PARITY_AUDIO", metavar="FILE", help="A sound before the text; repeatable."),
]
Candidates = Annotated[
    str, typer.Option("--candidates", envvar="PARITY_CANDIDATES", metavar="NAME[,NAME]", help="Backends to judge.")
]
MLX = "mlx"
"""The candidate where none is named."""
NamedCandidates = Annotated[
    str | None,
    typer.Option(
        "--candidates",
        envvar="PARITY_CANDIDATES",
        metavar="NAME[,NAME]",
        help=f"Backends to judge (default: {MLX}; by a table, its port).",
    ),
]
Table = Annotated[
    Path | None,
    typer.Option(
        "--table",
        envvar="PARITY_TABLE",
        metavar="FILE",
        help="Judge by a learned table, by its own reference and port.",
    ),
]
Dtypes = Annotated[
    str, typer.Option("--dtype", envvar="PARITY_DTYPE", metavar="NAME[,NAME]", help="Arithmetic of the candidates.")
]
Dtype = Annotated[
    str, typer.Option("--dtype", envvar="PARITY_DTYPE", metavar="NAME", help="Arithmetic of the backend.")
]
Scenarios = Annotated[
    str,
    typer.Option(
        "--scenario",
        envvar="PARITY_SCENARIO",
        metavar="NAME[,NAME]|all",
        help="Schedules of chunks; any other name lists them.",
    ),
]
Scenario = Annotated[
    str, typer.Option("--scenario", envvar="PARITY_SCENARIO", metavar="NAME", help="Schedule of chunks.")
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report", envvar="PARITY_REPORT", metavar="DIR", help="Write index.html, report.md and report.json here."
    ),
]
CostDraws = Annotated[
    int | None,
    typer.Option(
        "--cost-draws",
        min=1,
        metavar="N",
        help="For the report: measure what quantised weights cost over N drawn prompts (default: the judged one).",
    ),
]
SEED = 1
"""Of prompts that are drawn, where none is given."""
Keep = Annotated[Path | None, typer.Option("--keep", metavar="DIR", help="Keep the traces of all parties here.")]
Diagnosis = Annotated[
    bool, typer.Option("--diagnosis/--no-diagnosis", help="Whether the cause of each introduced step is looked for.")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Whether a coarse step, which adds one term after the other, is a divergence.")
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        envvar=TIMEOUT,
        min=1,
        metavar="SECONDS",
        help=f"A party that says nothing for so long is taken for stuck, and ended (default: {PATIENCE:g}).",
    ),
]
Remember = Annotated[
    bool,
    typer.Option(
        "--cache/--no-cache", help="Whether what the reference computed before is taken from the cache (parity cache)."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of the report.")]


def writable(page: Path | None) -> Path | None:
    """Refuse a page that cannot be written before the work that it is to hold, which takes many minutes."""
    from parity.report.json import prepare

    if page is not None:
        if page.is_dir():
            raise UsageError(f"cannot write {page}: it is a folder; name a file")
        prepare(page.parent)
    return page


Page = Annotated[
    Path | None,
    typer.Option("--markdown", metavar="FILE", help="Write the tables as a page here.", callback=writable),
]


def media(images: Sequence[Path] | None, audios: Sequence[Path] | None) -> tuple[Part, ...]:
    """The files as parts of a prompt, pictures first; in the environment, colons stand between several.

    Raises:
        UsageError: for what is no file that can be read.
    """
    return tuple(_file("image", path) for path in images or ()) + tuple(_file("audio", path) for path in audios or ())


def _file(kind: Medium, path: Path) -> Part:
    if not path.is_file() or not os.access(path, os.R_OK):
        raise UsageError(f"{kind} {str(path)!r}: no such file, or it cannot be read")
    return Part(kind, str(path.absolute()))


def names(text: str, option: str) -> tuple[str, ...]:
    """The names in a list with commas, each once.

    Raises:
        UsageError: when there is none.
    """
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise UsageError(f"{option} names nothing; give one or more names with commas between")
    return found


def one_name(text: str, option: str) -> str:
    """The only name.

    Raises:
        UsageError: when there is none, or several, or ``all``.
    """
    found = names(text, option)
    if len(found) > 1 or found[0] == "all":
        raise UsageError(f"{option} takes one name here, not {text!r}")
    return found[0]


def given_prompt(prompt: str | None) -> str | None:
    """The prompt, where an empty one in the environment is a prompt too: typer takes it for none.

    Raises:
        UsageError: when it holds bytes that are no UTF-8.
    """
    prompt = os.environ.get("PARITY_PROMPT") if prompt is None else prompt
    try:
        (prompt or "").encode()
    except UnicodeEncodeError as error:
        raise UsageError("the prompt is not valid UTF-8") from error
    return prompt
