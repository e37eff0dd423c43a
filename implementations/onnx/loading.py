"""Loading: a package that is there, or the graphs of a checkpoint, exported once for all of its shape.

A graph depends on a checkpoint's configuration alone, and one of pictures on their size. So graphs without weights are
kept in the user's cache, and each process writes the weights beside them, which takes as long as the disk does.
"""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import onnx

from implementations.gemma3n.config import Config
from implementations.gemma3n.preprocessing.settings_reader import ProcessorSettings
from implementations.onnx.export.weights import Weights, weight_names, write_graph
from implementations.onnx.options import Options
from implementations.onnx.package.folder import FOLDER, Package, Picture, graph_file, read_steps, write_steps
from implementations.onnx.program import Program
from parity.running.cache import Cache, Key, cache
from parity.running.identity import source_digest
from parity.scratch import scratch

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


def load(checkpoint: Path, options: Options) -> tuple[Program, Path]:
    """The program of a checkpoint, or of a package in its place, and the folder of its tokenizer.

    Raises:
        UsageError: for another architecture, weights that do not fit it, or a package that cannot be run.
        BackendUnavailable: for a provider that is not installed.
    """
    options.installed()
    if options.package is not None:
        return Program(Config.from_directory(options.package), Package.read(options.package), options), options.package
    path = _KEPT.enter_context(scratch())
    write_graphs(checkpoint, path)
    return Program(Config.from_directory(checkpoint), Package.read(path), options), checkpoint


def write_graphs(checkpoint: Path, path: Path, told: Told = lambda what: None) -> None:
    """Write the graphs of a checkpoint, whole, into the folder of a package.

    Raises:
        UsageError: for another architecture, or weights that do not fit it.
    """
    config, folder = Config.from_directory(checkpoint), path / FOLDER
    weights, picture = Weights(checkpoint, config), picture_of(checkpoint)
    store, key = cache(), key_of(config, picture)
    if store is None or not _copied(store, key, folder):
        folder.mkdir()
        _export(config, picture, weights, folder, told)
        if store is not None:
            store.keep(key, lambda content: _copy(folder, content))
    models = {name: onnx.load(graph_file(folder, name)) for name in read_steps(folder)}
    weights.require(set().union(*map(weight_names, models.values())))
    for name, model in models.items():
        told(f"writing the weights of {name}")
        write_graph(folder, name, model, weights)


def picture_of(checkpoint: Path) -> Picture | None:
    """Height and width of the pictures that a checkpoint's processor makes; None where it has no processor.

    Raises:
        UsageError: for settings that are malformed or not implemented.
    """
    if not (checkpoint / "processor_config.json").is_file():
        return None
    image = ProcessorSettings.from_directory(checkpoint).image
    return None if image is None else (image.height, image.width)


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


def _copy(folder: Path, to: Path) -> None:
    shutil.copytree(folder, to)


def _copied(store: Cache, key: Key, folder: Path) -> bool:
    """Whether the cache had the graphs, which are in the folder now."""
    if (kept := store.find(key)) is None:
        return False
    try:
        _copy(kept, folder)
    except OSError:  # another process removed the entry meanwhile
        shutil.rmtree(folder, ignore_errors=True)
        return False
    return True


def _export(config: Config, picture: Picture | None, weights: Weights, folder: Path, told: Told) -> None:
    from implementations.onnx.export import encoders, text

    weights.require(text.parameters(config) | encoders.parameters(config, picture))  # first: the export takes minutes
    steps = {}
    told("exporting the graphs")
    for name, (model, found) in (*text.graphs(config), *encoders.graphs(config, picture)):
        graph_file(folder, name).write_bytes(model.SerializeToString(deterministic=True))
        steps[name] = found
    write_steps(folder, steps)
