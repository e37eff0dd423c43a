"""The folder of a package: graphs as they are published, the files of their large tensors, and which tensor is a step.

config.json, tokenizer.json, chat_template.jinja ...
onnx/embed_tokens.onnx, onnx/embed_tokens.onnx_data
onnx/decoder_model_merged.onnx, onnx/decoder_model_merged.onnx_data
onnx/vision_encoder.onnx, onnx/audio_encoder.onnx ...    where the model sees and hears
onnx/decoder_model_merged_q4.onnx ...    the same graphs in other number formats
onnx/steps.json    where we exported it
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto

from implementations.gemma3n.config import Config
from implementations.onnx.package.borders import border_steps
from implementations.onnx.package.graph import Tapped, tensors_of
from implementations.onnx.package.tensors import require_whole
from implementations.onnx.package.types import FLOAT32, TYPES
from parity.errors import CannotWrite, UsageError
from parity.json_file import read_json
from parity.learning.layout import Rearrangement

FOLDER, SIDECAR = "onnx", "steps.json"
EMBEDDER, DECODER = "embed_tokens", "decoder_model_merged"
GRAPHS = (EMBEDDER, DECODER)
"""Those that every package has."""
VISION, AUDIO = "vision_encoder", "audio_encoder"
ENCODERS = (VISION, AUDIO)
FORMAT = 2
"""Of the sidecar."""
NUMBERS = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}
"""What a step may be of, by NumPy's names."""

Steps = Mapping[str, Sequence[Tapped]]
"""The steps of each graph, in the order in which it computes them."""
Picture = tuple[int, int]
"""Height and width of the pictures that a graph takes."""


def past(layer: int) -> tuple[str, str]:
    """The decoder's inputs for keys and values of earlier chunks."""
    return f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"


def present(layer: int) -> tuple[str, str]:
    """The decoder's outputs of keys and values, the chunk's own among them."""
    return f"present.{layer}.key", f"present.{layer}.value"


def graph_file(folder: Path, name: str) -> Path:
    """The file of a graph."""
    return folder / f"{name}.onnx"


@dataclass(frozen=True)
class Package:
    """Graphs in a folder, all of one number format.

    Attributes:
        folder: where they are.
        steps: of each graph.
        suffix: what the names of their files end in.
        marked: whether `steps.json` says which tensors are steps, as of those that we export; else they are known by
            the names of what goes in and comes out.
    """

    folder: Path
    steps: Steps
    suffix: str = ""
    marked: bool = True

    @classmethod
    def read(cls, path: Path, kind: str = FLOAT32, table: Path | None = None) -> Package:
        """The package of a folder, in a number format of `TYPES`.

        Args:
            path: the folder.
            kind: the number format.
            table: of the steps inside a package that has no `steps.json`, in the form of one.

        Raises:
            UsageError: for a file that is missing or malformed, or a number format that the package does not have.
        """
        folder = path / FOLDER
        suffix = _suffix(folder, path, kind)
        marked = os.path.lexists(folder / SIDECAR)
        if marked and table is not None:
            raise UsageError(f"package {path} has a {SIDECAR} of its own; leave steps={table} out")
        steps = read_steps(folder, suffix) if marked else _unmarked(path, suffix, table)
        for name in steps:
            _require_file(graph_file(folder, name + suffix), path)
        return cls(folder, steps, suffix, marked)

    def graph(self, name: str) -> ModelProto:
        """A graph without its large tensors, whose files are whole.

        Raises:
            UsageError: for a file that is no graph, or that is missing or cut off, or a step whose tensor it lacks.
        """
        file = graph_file(self.folder, name + self.suffix)
        model = _graph(file)
        require_whole(model, file)
        _require_steps(model, self.steps[name], file)
        return model


def write_steps(folder: Path, steps: Steps) -> None:
    """Write the sidecar; the steps of each graph by the name of its file."""
    write_table(folder / SIDECAR, steps)


def write_table(file: Path, steps: Steps) -> None:
    """Write the steps of graphs into a file, whole or not at all.

    Raises:
        CannotWrite: where there is no room or no leave.
    """
    plain = {
        name: [{key: told for key, told in asdict(one).items() if told} for one in found]
        for name, found in steps.items()
    }
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_text(json.dumps({"format": FORMAT, "steps": plain}, indent=1) + "\n", encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CannotWrite(f"{file} cannot be written: {error.strerror or error}") from error


def read_steps(folder: Path, suffix: str = "") -> Steps:
    """What `write_steps` wrote of the graphs of a suffix, by their names without it.

    Raises:
        UsageError: as `read_table`.
    """
    return read_table(folder / SIDECAR, suffix)


def read_table(file: Path, suffix: str = "") -> Steps:
    """The steps of the graphs of a suffix, by their names without it, from a file.

    Raises:
        UsageError: where it cannot be read, or says what cannot be.
    """
    try:
        told = _told(read_json(file))
        names = (*GRAPHS, *(name for name in ENCODERS if name + suffix in told))
        return {name: _tapped(told, name + suffix) for name in names}
    except (OSError, ValueError) as error:
        reason = "it is not there" if isinstance(error, FileNotFoundError) else error
        raise UsageError(f"package file {file} cannot be read ({reason}); export it again") from error


def _borders(path: Path, suffix: str) -> Steps:
    """The steps of graphs that are not marked."""
    folder, owners = path / FOLDER, Config.from_directory(path).text.first_shared_layer
    there = (*GRAPHS, *(name for name in ENCODERS if graph_file(folder, name + suffix).is_file()))
    for name in there:
        _require_file(graph_file(folder, name + suffix), path)
    return {name: border_steps(_graph(graph_file(folder, name + suffix)).graph, owners) for name in there}


def _unmarked(path: Path, suffix: str, table: Path | None) -> Steps:
    """The steps at the borders of graphs that are not marked, and those inside that a table says."""
    borders, inside = _borders(path, suffix), {} if table is None else read_table(table, suffix)
    found = {}
    for name, known in borders.items():
        steps, tensors = {one.step for one in known}, {one.tensor for one in known}
        more = (one for one in inside.get(name, ()) if one.step not in steps and one.tensor not in tensors)
        found[name] = (*known, *more)
    return found


def _graph(file: Path) -> ModelProto:
    """A graph without its large tensors."""
    try:
        return onnx.load(file, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise UsageError(f"package file {file} is no ONNX graph ({error}); export it again") from error


def _told(content: Any) -> dict[str, Any]:
    """The lists of a sidecar by the graphs' names."""
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    if (found := content.get("format")) != FORMAT:
        raise ValueError(f"format {found!r} instead of {FORMAT}")
    if not isinstance(told := content.get("steps"), dict):
        raise ValueError("its steps are no JSON object")
    return told


def _tapped(told: Mapping[str, Any], name: str) -> tuple[Tapped, ...]:
    """The steps of a graph, each once and each of a tensor of its own."""
    if not isinstance(entries := told.get(name), list):
        raise ValueError(f"it has no list of steps of graph {name}")
    found = tuple(_one(entry, f"graph {name}, entry {number}") for number, entry in enumerate(entries, 1))
    for what, names in (("step", [one.step for one in found]), ("tensor", [one.tensor for one in found])):
        if twice := next((one for one, count in Counter(names).items() if count > 1), None):
            raise ValueError(f"graph {name} has {what} {twice!r} twice")
    return found


def _one(entry: Any, where: str) -> Tapped:
    if not isinstance(entry, dict) or entry.keys() - {"layout"} != {"step", "tensor", "type"}:
        raise ValueError(f"{where} is no object with step, tensor and type")
    for key, value in entry.items():
        if not isinstance(value, str) or not value:
            raise ValueError(f"{where}, step {entry['step']!r}: the {key} is {value!r}, no name")
    if entry["type"] not in NUMBERS:
        raise ValueError(
            f"{where}, step {entry['step']!r}: no type {entry['type']!r}; it is one of {', '.join(NUMBERS)}"
        )
    try:
        Rearrangement.parse(entry.get("layout", "as it is"))
    except UsageError as error:
        raise ValueError(f"{where}, step {entry['step']!r}: {error}") from error
    return Tapped(**entry)


def _require_file(file: Path, path: Path) -> None:
    if not file.is_file():
        raise UsageError(f"package {path}: no {FOLDER}/{file.name}; is it one that `parity onnx export` wrote?")


def _suffix(folder: Path, path: Path, kind: str) -> str:
    """What files of a number format end in, the first of its suffixes that is there."""
    there = {
        name: suffix
        for name, told in TYPES.items()
        for suffix in reversed(told.suffixes)
        if graph_file(folder, DECODER + suffix).is_file()
    }
    if kind in there:
        return there[kind]
    if not there:
        _require_file(graph_file(folder, DECODER + TYPES[kind].suffixes[0]), path)
    raise UsageError(
        f"package {path} has no graphs of type {kind}; it has {', '.join(there)}: choose one of these, or "
        f"write {kind} with `parity onnx export --types {kind}`"
    )


def _require_steps(model: ModelProto, steps: Sequence[Tapped], file: Path) -> None:
    """Check that a graph has the tensors of its steps, of the numbers that it says itself, where it says them."""
    there = tensors_of(model.graph)
    said = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.output)}
    for one in steps:
        if one.tensor not in there:
            raise no_step(one, file, f"the graph has no tensor {one.tensor!r}")
        if (said.get(one.tensor) or NUMBERS[one.type]) != NUMBERS[one.type]:
            raise no_step(one, file, f"tensor {one.tensor!r} is not of {one.type}")


def no_step(step: Tapped, file: Path, why: str) -> UsageError:
    """What is said of a step that a graph's file does not have as the sidecar says."""
    return UsageError(
        f"package file {file.parent / SIDECAR}: graph {file.name}, step {step.step!r}: {why}; export it again"
    )
