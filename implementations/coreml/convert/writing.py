"""Writes a checkpoint's parts into a folder: packages, tables, manifest."""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from implementations.ane.account import Converted as Account
from implementations.ane.account import account, lines
from implementations.ane.model import TOWERS
from implementations.coreml.convert.kept import KeptPart, Pairs, identity, kept_part
from implementations.coreml.convert.planned import Make, Plan, options_of
from implementations.coreml.convert.tracing import replaced, settled, settled_tools
from implementations.coreml.package.folder import (
    ACCOUNT,
    AUDIO,
    HEAD,
    INFER,
    MAIN,
    PREFILL,
    TABLES,
    VISION,
    Package,
)
from implementations.coreml.package.palettes import LOOKED_UP, in_palettes
from implementations.coreml.package.settings import PLAIN, Format, Settings
from implementations.coreml.package.tools import coremltools
from implementations.gemma3n.config import Config
from parity.native import give_back
from parity.running.cache import Key
from parity.scratch import scratch
from parity.traces.spool import Spool

Told = Callable[[str], None]
"""Told what is done next."""
SMALL = 512
"""Numbers of a matrix that stays as it is: a palette would take as much."""


def write_package(checkpoint: Path, folder: Path, settings: Settings, told: Told = lambda what: None) -> None:
    """Convert a checkpoint into a folder that is there, and has nothing in it of these names.

    Raises:
        UsageError: for another architecture, weights that do not fit it, or settings that do not.
    """
    config = Config.from_directory(checkpoint)
    settings = replace(settings, context=options_of(settings).fitted(config.text.max_position_embeddings))
    became = [*lines(_account(checkpoint, config, settings)), ""]
    plan = Plan(checkpoint, settings, config.text.num_hidden_layers)
    parts = plan.decoder() | plan.others()
    steps: dict[str, dict[str, Pairs]] = {}
    package = Package(folder, settings, tuple(plan.decoder()), tuple(plan.others()), steps)
    of = identity(checkpoint)
    for name in [*parts]:
        # Nothing holds a part any more when the next one is made.
        steps[name] = _write_part(package, name, parts.pop(name), of, told)
    told("embeddings")
    _let_go()
    _write_tables(plan, folder)
    (folder / ACCOUNT).write_text("\n".join(became), encoding="utf-8")
    package.write()


def _account(checkpoint: Path, config: Config, settings: Settings) -> Iterator[Account]:
    """What became of each tensor; those of a tower that is not converted are ignored."""
    apart = tuple(tower for tower, size in zip(TOWERS, (settings.picture, settings.sound), strict=True) if size is None)
    for entry in account(checkpoint, config):
        yield replace(entry, action="ignored", became="no tower") if entry.name.startswith(apart) else entry


def functions(name: str, batch: int) -> dict[str, int]:
    """The functions of a package, and how many tokens each takes; a tower has one, which takes none."""
    if name in (VISION, AUDIO):
        return {MAIN: 0}
    return {MAIN: 1} if batch == 1 else {PREFILL: batch, INFER: 1}


def _write_part(package: Package, name: str, make: Make, of: Key, told: Told) -> dict[str, Pairs]:
    """Convert a part in each of its functions and write them as one package; returns its steps."""
    settings, files = package.settings, {}
    form = _format(name, settings)
    steps: dict[str, Pairs] = {}
    with _own_files() as folder:
        for function, tokens in functions(name, settings.batch).items():
            told(f"{name}, {function}")
            _let_go()
            one = kept_part(make, name, tokens, settings, of=of, folder=folder / function)
            if form.weights:
                one = _with_fewer_bits(one, form)
            files[function], steps[function] = one.file, one.steps
        del make  # and with it the part's weights, for what follows reads all of them again, of each function
        _let_go()
        _save(files, package, name)
    return steps


def _let_go() -> None:
    """Give back the memory of the last conversion: its programs are circles of objects, which hold a gigabyte each."""
    gc.collect()
    give_back()


def _format(name: str, settings: Settings) -> Format:
    """What a package's matrices are stored as; a tower's stay as they are."""
    if name in (VISION, AUDIO):
        return PLAIN
    return settings.head if name == HEAD else settings.decoder


def _with_fewer_bits(one: KeptPart, form: Format) -> KeptPart:
    """The same with its weights in the format that is asked for, in a package beside it."""
    model = compressed(coremltools.models.MLModel(str(one.file), skip_model_load=True), form)
    file = one.file.with_name("compressed.mlpackage")
    model.save(str(file))
    return KeptPart(file, settled([step for step, _ in one.steps], model.get_spec()))


@contextmanager
def _own_files() -> Iterator[Path]:
    """A folder; inside the context, what coremltools writes meanwhile is in it too, and it is gone afterwards.

    It removes its own where a process ends in order, and then alone: a worker that is ended leaves all of them.
    """
    with scratch() as folder, replaced(tempfile, "tempdir", str(folder)):
        yield folder


def _save(files: dict[str, Path], package: Package, name: str) -> None:
    """Packages of a function each in one, which has each weight once; before iOS 18 they stay apart."""
    if len(files) == 1 or not package.settings.stateful:
        for function, alone in files.items():
            shutil.move(alone, package.file(name, function))
        return
    with settled_tools():
        together = coremltools.utils.MultiFunctionDescriptor()
        for function, alone in files.items():
            together.add_function(str(alone), src_function_name=MAIN, target_function_name=function)
        together.default_function_name = PREFILL
        coremltools.utils.save_multifunction(together, str(package.file(name)))


def _write_tables(plan: Plan, folder: Path) -> None:
    """The tables that the host looks up, one after the other; those of text in palettes where they are asked for."""
    form, dtype = plan.settings.embeddings, torch.float16 if plan.settings.precision == "fp16" else torch.float32
    with scratch() as room:
        spool = Spool(room)
        for name, tensor in plan.tables():
            table, _, kind = name.rpartition(".")
            parts = {kind: tensor.to(dtype)}
            if form.weights and table in LOOKED_UP:
                parts = in_palettes(parts[kind], form)
            for part, each in parts.items():
                spool.add(f"{table}.{part}", each.numpy())
        spool.write(folder / TABLES)


def compressed(model: Any, form: Format) -> Any:
    """A converted model, the weights of its convolutions in the format that is asked for; by coremltools itself."""
    optimize = coremltools.optimize.coreml
    make = optimize.palettize_weights if form.palette_bits else optimize.linear_quantize_weights
    with settled_tools():
        return make(model, optimize.OptimizationConfig(op_type_configs={"conv": _how(form)}))


def _how(form: Format) -> Any:
    """What coremltools is asked for."""
    optimize = coremltools.optimize.coreml
    if form.palette_bits is None:
        return optimize.OpLinearQuantizerConfig(mode="linear_symmetric", dtype=form.weights, weight_threshold=SMALL)
    grouped: dict[str, Any] = {"granularity": "per_grouped_channel", "group_size": form.group} if form.group else {}
    return optimize.OpPalettizerConfig(mode="kmeans", nbits=form.palette_bits, weight_threshold=SMALL, **grouped)
