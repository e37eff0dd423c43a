"""The numbers of a checkpoint in a graph's file of large tensors, read and written one tensor at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from implementations.gemma3n.config import Config
from implementations.gemma3n.modality import ModalityConfig
from implementations.gemma3n.weight_names import LANGUAGE, PUBLISHED, has_head, require_names, require_shape, unused
from implementations.onnx.audio.timing import timing
from implementations.onnx.package.folder import graph_file
from parity.weights.names import HEAD
from parity.weights.stored import stored
from parity.weights.written import Stored

TURNED = ".transposed"
"""Behind the name of a weight that a graph holds the other way round than the checkpoint, ``[in, out]``."""
SMALL = 1024
"""Bytes of a tensor that stays in the graph's own file."""
ALIGNED = 4096
"""Where tensors begin in their file, so that it can be mapped into memory."""
TABLE = "embed_tokens.weight"
HARD = {f"embed_{name}.weight": f"model.embed_{name}." for name in ("vision", "audio")}
"""Tables that are computed here, and where what they are computed of is in the checkpoint."""
OF_HARD = ("embedding", "hard_embedding_norm", "embedding_projection")
ENCODED = ("vision_tower.", "audio_tower.", "embed_vision.", "embed_audio.")
"""What names of encoders' weights begin with; the checkpoint's have `MODEL` before them."""
MODEL = "model."
FREQUENCIES = "_inv_freq"
TIMING = "audio_tower.timing"
OUTPUT_SCALE = ".altup.correct_output_scale"
"""A checkpoint has it where its configuration says that nothing is scaled, too; no graph reads it then."""


class Weights:
    """Each weight of the graphs by its name in them.

    Args:
        checkpoint: a Hugging Face folder.
        config: its configuration.

    Raises:
        UsageError: for a file that is missing or truncated.
    """

    def __init__(self, checkpoint: Path, config: Config) -> None:
        self._checkpoint, self._config = checkpoint, config
        self._tensors: Mapping[str, Stored] = stored(checkpoint, PUBLISHED)

    def require(self, names: set[str]) -> None:
        """Check that the checkpoint has what all weights of these names are made of, and nothing else.

        Raises:
            UsageError: for a tensor that is missing or unknown.
        """
        text = self._config.text
        wanted = {source for name in names for source in self._sources(name.removesuffix(TURNED))}
        ignored = tuple(unused(text, wanted))
        found = {name for name in self._tensors if not name.startswith(ignored)}
        idle = set() if text.altup_correct_scale else {name for name in found if name.endswith(OUTPUT_SCALE)}
        require_names(found - idle, wanted - idle, self._checkpoint)

    def read(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A weight in float32.

        Raises:
            UsageError: where the checkpoint has it in another shape.
        """
        plain = name.removesuffix(TURNED)
        shape = shape if plain == name else shape[::-1]
        array = self._computed(plain, shape).astype(np.float32, copy=False)
        return array if plain == name else np.ascontiguousarray(array.T)

    def source(self, name: str) -> Stored | None:
        """The checkpoint's tensor that a weight is; None for one that is computed, and for what is no weight."""
        sources = self._sources(name)
        return self._tensors.get(sources[0]) if len(sources) == 1 else None

    def _sources(self, name: str) -> tuple[str, ...]:
        if name.endswith(FREQUENCIES) or name == TIMING:
            return ()
        if name in HARD:
            return tuple(f"{HARD[name]}{part}.weight" for part in OF_HARD)
        if name == HEAD:
            return (HEAD,) if has_head(self._config, self._tensors) else (LANGUAGE + TABLE,)
        return (MODEL + name if name.startswith(ENCODED) else LANGUAGE + name,)

    def _computed(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        text = self._config.text
        if name.endswith(FREQUENCIES):
            return text.ropes[name.removesuffix(FREQUENCIES)].inverse_frequencies(text.head_dim)
        if name == TIMING:
            return timing(self._config.audio, shape[-1])
        if name in HARD:
            of = self._config.vision if "vision" in name else self._config.audio
            width, rows = of.hidden_size, of.vocab_size
            shapes = ((rows, width), (width,), (shape[1], width))
            parts = [self._stored(*pair) for pair in zip(self._sources(name), shapes, strict=True)]
            return hard_table(*parts, config=of)
        (source,) = self._sources(name)
        return self._stored(source, shape)

    def _stored(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        require_shape(name, self._tensors[name].shape, shape, self._checkpoint)
        return self._tensors[name].read()


def hard_table(
    table: NDArray[Any], gain: NDArray[Any], projection: NDArray[Any], *, config: ModalityConfig
) -> NDArray[np.float64]:
    """Embeddings of all ids of a modality: ``norm(projection(norm(x)))``, in float64; rounded once by who keeps them.

    Args:
        table: ``[id, channel]``.
        gain: of the first norm, ``[channel]``; the last norm has none.
        projection: ``[hidden, channel]``.
        config: the modality's.

    Returns:
        ``[id, hidden]``.
    """

    def normed(x: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + config.rms_norm_eps)
        return found

    table, gain, projection = (array.astype(np.float64) for array in (table, gain, projection))
    return normed((normed(table) * gain) @ projection.T)


def weight_names(model: ModelProto) -> set[str]:
    """The weights of a graph, whose numbers it does not have yet."""
    return {tensor.name for tensor in model.graph.initializer if is_missing(tensor)}


def is_missing(tensor: TensorProto) -> bool:
    """Whether a tensor has a shape and no numbers."""
    return not tensor.HasField("raw_data") and tensor.data_location != TensorProto.EXTERNAL and not _listed(tensor)


def _listed(tensor: TensorProto) -> bool:
    return any((tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data))


def write_graph(folder: Path, name: str, model: ModelProto, weights: Weights) -> None:
    """Write a graph, and its weights into the file beside it.

    Raises:
        UsageError: for a weight that the checkpoint has in another shape.
    """
    file = graph_file(folder, name)
    data = file.with_name(f"{file.name}_data")
    filled = ModelProto()
    filled.CopyFrom(model)
    with data.open("wb") as stream:
        for tensor in filter(is_missing, filled.graph.initializer):
            array = weights.read(tensor.name, tuple(tensor.dims))
            if array.nbytes < SMALL:
                tensor.raw_data = array.tobytes()
                continue
            stream.write(bytes(-stream.tell() % ALIGNED))
            place = {"location": data.name, "offset": stream.tell(), "length": array.nbytes}
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.extend(onnx.StringStringEntryProto(key=k, value=str(v)) for k, v in place.items())
            # Not as bytes, which would be a copy of a table of gigabytes.
            stream.write(np.ascontiguousarray(array).data)
    file.write_bytes(filled.SerializeToString(deterministic=True))
