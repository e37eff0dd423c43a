"""`parity coreml`: a checkpoint as Core ML packages."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from implementations.coreml import Backend
from implementations.coreml.package.folder import Package, size_of
from implementations.coreml.package.settings import CACHES, PALETTE, PLAIN, PRECISIONS, WEIGHTS, Format, Settings
from implementations.gemma3n.new_folder import copy_beside, new_folder, require_new
from implementations.gemma3n.preprocessing.settings_reader import picture_of
from parity.cli.comparing import loadable
from parity.cli.options import Audios, Images, Model, Prompt, given_prompt, media, writable
from parity.compare import Request
from parity.errors import ExitCode, UsageError, installed
from parity.report.console import console, plain
from parity.report.progress import TerminalProgress

HealthPage = Annotated[
    Path | None, typer.Option("--page", metavar="FILE", help="Write it as HTML here.", callback=writable)
]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def coreml() -> None:
    """Gemma 3n as Core ML packages, in the form of Apple's Neural Engine."""


@app.command()
def convert(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Checkpoint: a directory, a hub id, or tiny.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The packages' folder, which is not there yet.")],
    *,
    precision: Annotated[
        str, typer.Option("--precision", metavar="NAME", help=f"Number format: {', '.join(PRECISIONS)}.")
    ] = "fp16",
    context: Annotated[
        int | None, typer.Option("--context", min=1, help="Positions; by default the model's, at most 1024.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Tokens of a prefill call.")] = 64,
    chunk: Annotated[int, typer.Option("--chunk", min=1, help="Packages that the decoder is in.")] = 1,
    alpha: Annotated[float, typer.Option("--alpha", help="Factor on the residual stream; see ane-range.")] = 1.0,
    lut: Annotated[
        str | None, typer.Option("--lut", metavar="BITS[,GROUP]", help="Palettes of 4 or 6 bits, for GROUP rows each.")
    ] = None,
    lut1: Annotated[
        str | None, typer.Option("--lut1", metavar="BITS[,GROUP]", help="The same for the tables that are looked up.")
    ] = None,
    lut2: Annotated[
        str | None, typer.Option("--lut2", metavar="BITS[,GROUP]", help="The same for the decoder alone.")
    ] = None,
    lut3: Annotated[
        str | None, typer.Option("--lut3", metavar="BITS[,GROUP]", help="The same for the head alone.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Matrices of 8 bits with a scale for each row.")] = False,
    int4: Annotated[bool, typer.Option("--int4", help="The same of 4 bits.")] = False,
    caches: Annotated[
        str | None,
        typer.Option("--caches", metavar="NAME", help="Keys and values: states (iOS 18, fp16), or inputs (iOS 17)."),
    ] = None,
    text_only: Annotated[bool, typer.Option("--text-only", help="The language model without its towers.")] = False,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Mel frames of a sound, 100 a second; without, no sounds.")
    ] = None,
) -> int:
    """Write a checkpoint as Core ML packages: decoder, head, vision tower, audio tower, and what the host looks up."""
    from parity.checkpoint import find_checkpoint

    if precision not in PRECISIONS:
        raise UsageError(f"--precision has no {precision!r}; choose of {', '.join(PRECISIONS)}")
    with installed(Backend.install):
        from implementations.coreml.convert.writing import write_package
    require_new(folder)
    checkpoint = find_checkpoint(model)
    if text_only and frames is not None:
        raise UsageError("--text-only has no tower for sounds; leave --frames out")
    sound = None if frames is None else (1, frames)
    formats = _formats(precision, lut, (lut2, lut3), int4=int4, int8=int8)
    if lut1 is not None and precision != "fp16":
        raise UsageError("tables in palettes are of --precision fp16")
    picture = None if text_only else picture_of(checkpoint.path)
    kept = _caches(precision, caches)
    settings = Settings(
        precision, context, batch, chunk, alpha, *formats, picture=picture, sound=sound, caches=kept,
        embeddings=_palette("--lut1", lut1),
    )  # fmt: skip
    with TerminalProgress() as progress, new_folder(folder) as package:
        write_package(checkpoint.path, package, settings, lambda what: progress.start("coreml", 0, what))
        copy_beside(checkpoint.path, package)
    for file in sorted(folder.iterdir()):
        if file.suffix in (".mlpackage", ".safetensors"):
            print(f"{file}: {size_of(file) / 1e6:,.1f} MB")
    return ExitCode.PARITY


@app.command()
def health(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `parity coreml convert` wrote.")],
    *,
    model: Model = None,
    prompt: Prompt = None,
    image: Images = None,
    audio: Audios = None,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Prompts over which the cost is measured.")] = 64,
    seed: Annotated[int, typer.Option("--seed", help="Of the draws: the same seed draws the same prompts.")] = 1,
    page: HealthPage = None,
) -> int:
    """Measure a conversion: errors, cost, range, size and operations of its packages. Exit code: that of compare."""
    from parity.cost.measuring import CostRequest, drawn_prompts

    with installed(Backend.install):
        from implementations.coreml.health.looking import look
        from implementations.coreml.health.page import print_health, write_page
        from parity.report.html.page import require_templates
    if page is not None:
        require_templates()  # what takes minutes is not begun for a page that cannot be made
    package = Package.read(folder)
    checkpoint, reference = loadable(model, None)
    name, dtype = f"coreml@package={folder}", package.settings.dtype
    shown = media(image, audio)
    compared = Request(checkpoint, (name,), dtype, ("one-shot",), given_prompt(prompt), shown, remember=True)
    over = CostRequest(checkpoint, reference, name, dtype, drawn_prompts(reference, draws, seed), "one-shot")
    with TerminalProgress() as progress:
        found = look(package, compared, over, progress)
    if page:
        write_page(found, shlex.join(["parity", *sys.argv[1:]]), page)
    print_health(found, console())
    return found.judgement.exit_code


@app.command("list")
def list_(
    path: Annotated[Path, typer.Argument(metavar="DIR|PACKAGE", help="Packages, whoever wrote them.")],
) -> int:
    """Show what packages hold: functions, what they take, keep and give, operations, size."""
    with installed(Backend.install):
        from implementations.coreml.listing import packages_of, print_packages
    print_packages(packages_of(path), console())
    return ExitCode.PARITY


@app.command()
def dump(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What the ANEMLL converter wrote, of any model.")],
    output: Annotated[Path, typer.Argument(metavar="DUMP", help="A folder that is not there yet.")],
    *,
    oracle: Annotated[Path, typer.Option("--oracle", metavar="TRACE", help="Whose tokens are run.")],
    function: Annotated[
        str, typer.Option("--function", help="infer: one token at a time; prefill: a batch of them.")
    ] = "infer",
) -> int:
    """Run packages of another converter and write every value, for `parity diff ORACLE DUMP`."""
    with installed(Backend.install):
        from implementations.coreml.anemll.conversation import FUNCTIONS
        from implementations.coreml.anemll.dumping import tokens_of, write_dump
        from implementations.coreml.anemll.folder import Folder
    if function not in FUNCTIONS:
        raise UsageError(f"--function has no {function!r}; choose of {', '.join(FUNCTIONS)}")
    read, tokens = Folder.read(folder), tokens_of(oracle)
    with TerminalProgress() as progress, new_folder(output) as new:
        progress.start("coreml", len(tokens), f"running {function}")
        write_dump(read, tokens, function, new, lambda: progress.step("coreml", "token"))
    for file in sorted(output.iterdir()):
        print(f"{file}: {file.stat().st_size / 1e6:,.1f} MB")
    return ExitCode.PARITY


@app.command()
def dequantize(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What the ANEMLL converter wrote, in fewer bits.")],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The checkpoint that it was made of.")],
    output: Annotated[Path, typer.Argument(metavar="NEW", help="A folder that is not there yet.")],
) -> int:
    """Write a checkpoint with the numbers that packages have its weights as: what their steps are held to fairly."""
    from parity.checkpoint import find_checkpoint

    with installed(Backend.install):
        from implementations.coreml.anemll.dequantizing import write_dequantized
        from implementations.coreml.anemll.folder import Folder
    read, checkpoint = Folder.read(folder), find_checkpoint(model)
    with new_folder(output) as new:
        changed, unknown = write_dequantized(read, checkpoint.path, new)
        copy_beside(checkpoint.path, new)
    print(f"{output}: {len(changed):,} tensors as {folder} has them, {len(unknown):,} matrices in fewer bits of none")
    for name in unknown:
        print(f"  {plain(name)}")
    return ExitCode.PARITY


def _formats(
    precision: str, lut: str | None, apart: tuple[str | None, str | None], *, int4: bool, int8: bool
) -> tuple[Format, Format]:
    """The formats of the decoder's matrices and the head's, which `apart` has where they differ.

    Raises:
        UsageError: for what is none.
    """
    integers = [name for name, wanted in (("int4", int4), ("int8", int8)) if wanted]
    asked = sum(told is not None for told in (lut, *apart)) + len(integers)
    if asked and precision != "fp16":
        raise UsageError("matrices in fewer bits are of --precision fp16")
    if len(integers) > 1 or (integers and asked > 1):
        raise UsageError("matrices in fewer bits are --int4, --int8 or palettes, one of them")
    if integers:
        return Format(integers[0]), Format(integers[0])
    one = _palette("--lut", lut)
    decoder, head = (one if own is None else _palette(f"--lut{number}", own) for number, own in enumerate(apart, 2))
    return decoder, head


def _caches(precision: str, told: str | None) -> str:
    found = told or CACHES[precision][0]
    if found not in CACHES[precision]:
        raise UsageError(f"--caches has no {found!r} of --precision {precision}; {' or '.join(CACHES[precision])}")
    return found


def _palette(option: str, told: str | None) -> Format:
    if told is None:
        return PLAIN
    bits, _, group = told.partition(",")
    name = f"{PALETTE}{bits}"
    if name not in WEIGHTS or not (group or "0").isdecimal():
        raise UsageError(f"{option} {told} is no number of bits, 4 or 6, with a number of rows behind it")
    return Format(name, int(group or 0))
