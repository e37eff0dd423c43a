"""Loading: a package that is there, or the graphs of a checkpoint, exported once for all of its shape.

A graph depends on a checkpoint's configuration alone, and one of pictures on their size. So graphs without weights are
kept in the user's cache, and each process writes the weights beside them, which takes as long as the disk does.
"""

from __future__ import annotations

import atexit
import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import onnx

from implementations.gemma3n.config import Config
from implementations.gemma3n.preprocessing.settings_reader import picture_of
from implementations.onnx.export.weights import Weights, weight_names, write_graph
from implementations.onnx.options import Options
from implementations.onnx.package.folder import FOLDER, Package, Picture, graph_file, read_steps, write_steps
from implementations.onnx.package.types import FLOAT32, TYPES
from implementations.onnx.program import Program
from implementations.onnx.quantization.converting import convert
from implementations.onnx.quantization.products import arithmetic_of
from implementations.onnx.quantization.rounding import believed
from implementations.onnx.quantization.values import held
from parity.errors import UsageError
from parity.running.cache import Key, write_folder
from parity.running.identity import source_digest
from parity.scratch import scratch
from parity.weights.overlay import write_overlay

EXPORTERS = ("torch", "onnx", "onnxscript", "onnx-ir")
SOURCES = (
    "implementations.onnx.operations",
    "implementations.onnx.text",
    "implementations.onnx.vision",
    "implementations.onnx.audio",
    "implementations.onnx.export",
    "implementations.onnx.package",
    "implementations.gemma3n",
)
"""What graphs are made by."""
_KEPT = ExitStack()
"""Folders of weights that this process runs."""
atexit.register(_KEPT.close)

Told = Callable[[str], None]
"""Told what is done next."""


def load(checkpoint: Path, options: Options, dtype: str) -> tuple[Program, Path]:
    """The program of a checkpoint, or of a package in its place, and the folder of its tokenizer.

    Raises:
        UsageError: for another architecture, weights that do not fit it, a package that cannot be run, or graphs that
            compute in another arithmetic.
        BackendUnavailable: for a provider that is not installed.
    """
    options.installed()
    path = options.package or checkpoint
    program = Program(Config.from_directory(path), package_of(checkpoint, options), options)
    if (found := arithmetic_of(graph.model for graph in program.graphs.values())) != dtype:
        raise UsageError(f"backend onnx: type={options.type} computes in {found}; give --dtype {found}")
    return program, path


@functools.cache
def package_of(checkpoint: Path, options: Options) -> Package:
    """The package that is run; that of a checkpoint is made once in a process, and gone with it.

    Raises:
        UsageError: for another architecture, weights that do not fit it, or a package that cannot be run.
    """
    if options.package is not None:
        return Package.read(options.package, options.type, options.steps)
    path = _KEPT.enter_context(scratch())
    write_package(checkpoint, path, [options.type])
    return Package.read(path, options.type)


def write_weights(checkpoint: Path, options: Options, file: Path) -> None:
    """Write the weights that the graphs compute with, as far as they are a checkpoint's, rounded.

    Raises:
        UsageError: for another architecture, weights that do not fit it, a package that cannot be run, or one that does
            not say which of its tensors is which.
    """
    package = package_of(checkpoint, options)
    weights, found = Weights(checkpoint, Config.from_directory(options.package or checkpoint)), {}
    for graph in map(package.graph, package.steps):
        for name, values in held(graph, package.folder):
            if (stored := weights.source(name)) is not None:
                found[name] = believed(values, stored)
    if not found:
        raise UsageError(
            f"package {package.folder.parent}: its tensors have other names than a checkpoint's, so that what its "
            "number format costs cannot be told from a fault; judge its fp32"
        )
    write_overlay(file, found)


def write_package(checkpoint: Path, path: Path, kinds: Sequence[str], told: Told = lambda what: None) -> None:
    """Write the graphs of a checkpoint in number formats, of `TYPES`, into the folder of a package.

    Raises:
        UsageError: for another architecture, or weights that do not fit it.
    """
    write_graphs(checkpoint, path, told)
    folder, steps = path / FOLDER, {}
    plain = read_steps(folder)
    for kind in kinds:
        suffix = TYPES[kind].suffixes[0]
        for name, found in plain.items():
            told(f"{name} in {kind}")
            steps[name + suffix] = found if kind == FLOAT32 else convert(folder, name, kind)
    if FLOAT32 not in kinds:
        for name in plain:
            for file in folder.glob(f"{name}.onnx*"):
                file.unlink()
    write_steps(folder, steps)


def write_graphs(checkpoint: Path, path: Path, told: Told = lambda what: None) -> None:
    """Write the graphs of a checkpoint, whole, into the folder of a package.

    Raises:
        UsageError: for another architecture, or weights that do not fit it.
    """
    config, folder = Config.from_directory(checkpoint), path / FOLDER
    weights, picture = Weights(checkpoint, config), picture_of(checkpoint)
    write_folder(folder, key_of(config, picture), lambda new: _export(config, picture, weights, new, told))
    models = {name: onnx.load(graph_file(folder, name)) for name in read_steps(folder)}
    weights.require(set().union(*map(weight_names, models.values())))
    for name, model in models.items():
        told(f"writing the weights of {name}")
        write_graph(folder, name, model, weights)


def key_of(config: Config, picture: Picture | None) -> Key:
    """All that graphs without weights depend on."""
    return {
        "op": "ONNX export",
        "checkpoint": ["any gemma3n of one shape"],
        "dtype": "float32",
        "config": asdict(config),
        "picture": picture,
        "source": [source_digest(name) for name in SOURCES],
        "libraries": [f"{name} {version(name)}" for name in EXPORTERS],
    }


def _export(config: Config, picture: Picture | None, weights: Weights, folder: Path, told: Told) -> None:
    from implementations.onnx.export import encoders, text

    weights.require(text.parameters(config) | encoders.parameters(config, picture))  # first: the export takes minutes
    steps = {}
    told("exporting the graphs")
    for name, (model, found) in (*text.graphs(config), *encoders.graphs(config, picture)):
        graph_file(folder, name).write_bytes(model.SerializeToString(deterministic=True))
        steps[name] = found
    write_steps(folder, steps)
