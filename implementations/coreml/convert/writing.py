"""Writes a checkpoint's parts into a folder: packages, tables, manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file

from implementations.ane.loading import load
from implementations.ane.options import Options
from implementations.ane.program import Program
from implementations.coreml.convert.parts import DecoderPart, HeadPart, Part, split
from implementations.coreml.convert.tracing import Converted, convert, settled_tools
from implementations.coreml.package.folder import HEAD, INFER, PREFILL, TABLES, Package
from implementations.coreml.settings import Settings
from implementations.coreml.tools import coremltools
from parity.errors import UsageError

Told = Callable[[str], None]
"""Told what is done next."""
EMBEDDER = "embedder."


def write_package(checkpoint: Path, folder: Path, settings: Settings, told: Told = lambda what: None) -> None:
    """Convert a checkpoint into a folder that is there, and has nothing in it of these names.

    Raises:
        UsageError: for another architecture, weights that do not fit it, or settings that do not.
    """
    options = Options(alpha=settings.alpha, context=settings.context, batch=settings.batch)
    program, _ = load(checkpoint, settings.dtype, options)
    settings = replace(settings, context=program.shapes.context)
    decoder = _decoder(program, settings)
    parts = {**decoder, HEAD: HeadPart(program.model, program.config)}
    steps: dict[str, dict[str, Sequence[tuple[str, str]]]] = {}
    package = Package(folder, settings, tuple(decoder), (HEAD,), steps)
    for name, part in parts.items():
        steps[name] = _write_part(package, name, part, told)
    told("embeddings")
    _write_tables(program, folder, settings)
    package.write()


def _decoder(program: Program, settings: Settings) -> dict[str, Part]:
    layers, count = program.config.num_hidden_layers, settings.chunks
    if count > layers:
        raise UsageError(f"a decoder of {layers} layers cannot be in {count} parts; give at most {layers}")
    return {
        f"decoder_{number}of{count}": DecoderPart(
            program.model, program.config, part, program.shapes, stateful=settings.stateful
        )
        for number, part in enumerate(split(layers, count), 1)
    }


def functions(batch: int) -> dict[str, int]:
    """The functions of a package, and how many tokens each takes."""
    return {INFER: 1} if batch == 1 else {PREFILL: batch, INFER: 1}


def _write_part(package: Package, name: str, part: Part, told: Told) -> dict[str, Sequence[tuple[str, str]]]:
    """Convert a part in each of its functions and write them as one package; returns its steps."""
    found: dict[str, Converted] = {}
    for function, tokens in functions(package.settings.batch).items():
        told(f"{name}, {function}")
        found[function] = convert(part, tokens, package.settings.precision)
    _save(found, package.file(name))
    return {function: one.steps for function, one in found.items()}


def _save(found: dict[str, Converted], file: Path) -> None:
    """The functions in one package, which has each weight once."""
    with TemporaryDirectory(prefix=".parts-", dir=file.parent) as beside, settled_tools():
        together = coremltools.utils.MultiFunctionDescriptor()
        for function, one in found.items():
            alone = str(Path(beside) / f"{function}.mlpackage")
            one.model.save(alone)
            together.add_function(alone, src_function_name="main", target_function_name=function)
        together.default_function_name = next(iter(found))
        coremltools.utils.save_multifunction(together, str(file))


def _write_tables(program: Program, folder: Path, settings: Settings) -> None:
    dtype = torch.float16 if settings.precision == "fp16" else torch.float32
    save_file({name: tensor.to(dtype).contiguous() for name, tensor in _tables(program)}, folder / TABLES)


def _tables(program: Program) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in program.model.embedder.named_parameters():
        yield EMBEDDER + name, tensor
