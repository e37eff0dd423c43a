"""`parity gguf`: a checkpoint as files of llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from implementations.gemma3n.new_folder import new_folder, require_new
from parity.cli.options import names
from parity.errors import ExitCode, installed
from parity.report.console import plain
from parity.report.progress import TerminalProgress

INSTALL = "GGUF cannot be written: pip install 'gemma3n-parity[gguf]'"
TYPES = "f32, bf16, f16, q8_0, q4_0 or q4_k_m"

app = typer.Typer(no_args_is_help=True)


@app.callback()
def gguf() -> None:
    """Gemma 3n in GGUF, for llama.cpp and whatever else reads it."""


@app.command()
def convert(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Checkpoint: a directory, a hub id, or tiny.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The files' folder, which is not there yet.")],
    types: Annotated[str, typer.Option(help=f"Number types of the matrices, with commas: {TYPES}.")] = "f32",
    mmproj: Annotated[bool, typer.Option("--mmproj", help="Write the vision tower too, for libmtmd.")] = False,
) -> int:
    """Write a checkpoint as GGUF files, and what became of each of its tensors."""
    from parity.checkpoint import find_checkpoint

    with installed(INSTALL):
        from implementations.gguf.convert.account import counts
        from implementations.gguf.convert.conversion import Conversion
        from implementations.gguf.convert.kinds import kind_of
    kinds = {name: kind_of(name) for name in names(types.lower(), "--types")}
    require_new(folder)
    checkpoint = find_checkpoint(model)
    conversion = Conversion.of(checkpoint.path, checkpoint.name, tower=mmproj)
    with TerminalProgress() as progress, new_folder(folder) as made:
        conversion.write(made, kinds, lambda what: progress.start("gguf", 0, what))
    for file in sorted(folder.iterdir()):
        print(f"{file}: {file.stat().st_size / 1e6:,.1f} MB")
    for name, kind in kinds.items():
        print(f"{name}: {counts(conversion.account(kind))}")
    return ExitCode.PARITY


@app.command()
def diff(
    ours: Annotated[Path, typer.Argument(metavar="FILE", help="A GGUF file.")],
    theirs: Annotated[Path, typer.Argument(metavar="OTHER", help="Another one of the same model.")],
) -> int:
    """Hold the tensors of two files against each other, as ours and another converter's: exit 1 if numbers differ."""
    with installed(INSTALL):
        from implementations.gguf.differences import differences
    both, found = differences(ours, theirs)
    for difference in found:
        print(plain(f"{difference.tensor}: {difference.what}"))
    alike = both - sum(not difference.alone for difference in found)
    print(f"{both:,} tensors in both, {alike:,} the same to the bit")
    return ExitCode.DIVERGED if any(difference.numbers for difference in found) else ExitCode.PARITY
