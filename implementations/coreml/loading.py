"""Loading: a folder of packages that is there, or a checkpoint's own, converted once and kept in the user's cache."""

from __future__ import annotations

import atexit
import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from implementations.ane.arithmetic import Float16Ane
from implementations.ane.audio.tower import within
from implementations.ane.loading import tensors_of
from implementations.ane.program import Program
from implementations.ane.shapes import Shapes
from implementations.ane.tensors import AneTensors
from implementations.coreml.convert.kept import identity
from implementations.coreml.convert.writing import write_package
from implementations.coreml.model import Interpreted, Packaged
from implementations.coreml.options import RUNTIMES, Options
from implementations.coreml.package.folder import Package
from implementations.coreml.package.settings import PRECISIONS, Settings
from implementations.coreml.predicting import Predicted
from implementations.coreml.weights import true_weights
from implementations.gemma3n.config import Config
from parity.arithmetic import Arithmetic, Plain
from parity.errors import UsageError
from parity.running.cache import write_folder
from parity.scratch import scratch
from parity.weights.overlay import write_overlay

_KEPT = ExitStack()
"""Folders of packages that this process runs."""
atexit.register(_KEPT.close)


class AlreadyRounded(Float16Ane):
    """The engine's arithmetic, where the interpreter itself rounds each operation's result."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Nothing to change."""
        yield


def load(checkpoint: Path, options: Options, dtype: str) -> tuple[Program, Packaged, AneTensors, Path]:
    """The program of a checkpoint, or of a package in its place, its parts and tensors, and its tokenizer's folder.

    Raises:
        UsageError: for another architecture, weights that do not fit it, a package that cannot be run, or one that
            computes in another arithmetic.
    """
    package = _package(checkpoint, options, dtype)
    settings = package.settings
    if settings.dtype != dtype:
        raise UsageError(
            f"backend coreml: {package.folder} computes in {settings.dtype}; give --dtype {settings.dtype}"
        )
    path = options.package or checkpoint
    arithmetic: Arithmetic = Plain(dtype) if dtype == "float32" else AlreadyRounded(options.limit)
    config = Config.from_directory(path)
    if dtype != "float32":
        config = replace(config, audio=within(config.audio, options.limit))
    shapes = Shapes(settings.context or 0, settings.batch, config.text.sliding_window)
    tensors = tensors_of(config, shapes, settings.alpha, arithmetic)
    more = None
    if options.package is None:
        base = options.converted(dtype)
        more = lambda size: package_of(checkpoint, replace(base, text=False, **size))  # noqa: E731
    run = functools.partial(Interpreted, rounded=arithmetic.rounded) if options.runtime == RUNTIMES[0] else Predicted
    model = Packaged(config, package, run, tensors, more)
    return Program(config, model, shapes, tensors, arithmetic), model, tensors, path


@functools.cache
def package_of(checkpoint: Path, settings: Settings) -> Package:
    """A checkpoint's packages, of the cache or converted now.

    Raises:
        UsageError: for another architecture, weights that do not fit it, or settings that do not.
    """
    path = _KEPT.enter_context(scratch()) / "package"
    key = {**identity(checkpoint), "op": "Core ML conversion", "settings": asdict(settings)}
    write_folder(path, key, lambda new: write_package(checkpoint, new, settings))
    return Package.read(path)


def write_weights(checkpoint: Path, options: Options, file: Path) -> None:
    """Write the weights in fewer bits that packages compute with, as far as they are a checkpoint's, rounded.

    Raises:
        UsageError: for another architecture, weights that do not fit it, or a package that cannot be run.
    """
    package = _package(checkpoint, options, PRECISIONS["fp16"])
    config = Config.from_directory(options.package or checkpoint)
    write_overlay(file, true_weights(package, checkpoint, config))


def _package(checkpoint: Path, options: Options, dtype: str) -> Package:
    """The package that is named, or the checkpoint's own for an arithmetic."""
    if options.package is not None:
        return Package.read(options.package)
    return package_of(checkpoint, options.converted(dtype))
