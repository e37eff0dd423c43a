"""The folder of a package: graphs as they are published, the files of their large tensors, and which tensor is a step.

config.json, tokenizer.json, chat_template.jinja ...
onnx/embed_tokens.onnx, onnx/embed_tokens.onnx_data
onnx/decoder_model_merged.onnx, onnx/decoder_model_merged.onnx_data
onnx/vision_encoder.onnx, onnx/audio_encoder.onnx ...    where the model sees and hears
onnx/decoder_model_merged_q4.onnx ...    the same graphs in other number formats
onnx/steps.json
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper

from implementations.onnx.package.graph import Tapped
from parity.errors import UsageError
from parity.json_file import read_json

FOLDER, SIDECAR = "onnx", "steps.json"
EMBEDDER, DECODER = "embed_tokens", "decoder_model_merged"
GRAPHS = (EMBEDDER, DECODER)
"""Those that every package has."""
VISION, AUDIO = "vision_encoder", "audio_encoder"
ENCODERS = (VISION, AUDIO)
FORMAT = 2
"""Of the sidecar."""

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
    """

    folder: Path
    steps: Steps
    suffix: str = ""

    @classmethod
    def read(cls, path: Path, suffixes: Sequence[str] = ("",)) -> Package:
        """The package of a folder, which `parity onnx export` wrote; its graphs have the first suffix that is there.

        Raises:
            UsageError: for a file that is missing or malformed.
        """
        folder = path / FOLDER
        _require_file(folder / SIDECAR, path)
        there = (suffix for suffix in suffixes if graph_file(folder, DECODER + suffix).is_file())
        suffix = next(there, suffixes[0])
        _require_file(graph_file(folder, DECODER + suffix), path)
        steps = read_steps(folder, suffix)
        for name in steps:
            _require_file(graph_file(folder, name + suffix), path)
        return cls(folder, steps, suffix)

    def graph(self, name: str) -> ModelProto:
        """A graph without its large tensors, whose files are whole.

        Raises:
            UsageError: for a file that is no graph, or that is missing or cut off.
        """
        file = graph_file(self.folder, name + self.suffix)
        try:
            model = onnx.load(file, load_external_data=False)
        except (DecodeError, OSError, ValueError) as error:
            raise UsageError(f"package file {file} is no ONNX graph ({error}); export it again") from error
        require_whole(model, file)
        return model


def write_steps(folder: Path, steps: Steps) -> None:
    """Write the sidecar; the steps of each graph by the name of its file."""
    plain = {name: [asdict(one) for one in found] for name, found in steps.items()}
    text = json.dumps({"format": FORMAT, "steps": plain}, indent=1)
    (folder / SIDECAR).write_text(f"{text}\n", encoding="utf-8")


def read_steps(folder: Path, suffix: str = "") -> Steps:
    """What `write_steps` wrote of the graphs of a suffix, by their names without it.

    Raises:
        UsageError: where it cannot be read.
    """
    file = folder / SIDECAR
    try:
        content = read_json(file)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r} instead of {FORMAT}")
        told = content["steps"]
        names = (*GRAPHS, *(name for name in ENCODERS if name + suffix in told))
        return {name: tuple(Tapped(**one) for one in told[name + suffix]) for name in names}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"package file {file} cannot be read ({error!r}); export it again") from error


def _require_file(file: Path, path: Path) -> None:
    if not file.is_file():
        raise UsageError(f"package {path}: no {FOLDER}/{file.name}; is it one that `parity onnx export` wrote?")


def require_whole(model: ModelProto, file: Path) -> None:
    """Check that the tensors of a graph which are in other files are there.

    Raises:
        UsageError: for a file that is missing, cut off or outside the package, or a tensor of another size.
    """
    for tensor, place in stored_outside(model):
        data = file.parent / str(place.get("location", ""))
        if data.parent != file.parent or not data.is_file():
            raise UsageError(f"package file {file}: its tensors are in {data.name}, which is not there; fetch it again")
        begin, length = int(place.get("offset", 0)), int(place.get("length", -1))
        if length != size_of(tensor):
            raise UsageError(f"package file {file}: {tensor.name} has {length} bytes for {size_of(tensor)}")
        if begin + length > (there := data.stat().st_size):
            raise UsageError(f"package file {data} is cut off: {there} bytes of at least {begin + length}")


def stored_outside(model: ModelProto) -> Iterator[tuple[TensorProto, dict[str, Any]]]:
    """The tensors that are in other files, and where."""
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            yield tensor, {entry.key: entry.value for entry in tensor.external_data}


def size_of(tensor: TensorProto) -> int:
    """Bytes of a tensor, however it is kept; numbers of four bits are two a byte."""
    count = math.prod(tensor.dims)
    if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4):
        return -(-count // 2)
    return int(count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
