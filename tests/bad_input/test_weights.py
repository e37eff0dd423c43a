"""Files of tensors whose headers lie: in a checkpoint, a trace and a golden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from tests.bad_input import inputs
from tests.bad_input.inputs import Spoil, data, instead
from tests.bad_input.table import Row, table

STEPS = 1229
"""Steps of the golden."""
TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def header(content: Any, body: int = 8, length: int | None = None) -> Spoil:
    """A file with this header (JSON, or bytes as they are), as many zeros, and another length than the header's."""
    made = content if isinstance(content, bytes) else json.dumps(content).encode()
    return data((len(made) if length is None else length).to_bytes(8, "little") + made + bytes(body))


def tensor(**fields: Any) -> Spoil:
    """A file of one tensor of two float32, but for these fields."""
    return header({"a": {**TENSOR, **fields}})


HEADERS: dict[str, tuple[Spoil, str]] = {
    "empty": (data(b""), "truncated or no safetensors file"),
    "short": (data(b"\0\0\0"), "truncated or no safetensors file"),
    "pickle": (data(b"\x80\x04\x95" + bytes(100)), "truncated or no safetensors file"),
    "longer-than-the-file": (header({"a": TENSOR}, length=1 << 40), "truncated or no safetensors file"),
    "all-ones": (data(b"\xff" * 64), "truncated or no safetensors file"),
    "no-header": (header(b""), "Expecting value"),
    "no-json": (header(b"{" * 20), "Expecting property name"),
    "list": (header([]), "no JSON object"),
    "number": (header(7), "no JSON object"),
    "not-utf-8": (header(b'{"\xff": 1}'), "not UTF-8 at byte 2"),
    "deep": (header(b"[" * 50_000 + b"]" * 50_000), "nested more than 64 levels deep"),
    "digits": (header(b'{"a": {"shape": [' + b"9" * 5000 + b"]}}"), "an integer of 5,000 digits"),
    "1e999": (header(b'{"a": 1e999}'), "1e999 is beyond float64"),
    "twice": (header(b'{"a": {}, "a": {}}'), "names 'a' twice"),
    "entry-null": (header({"a": None}), "tensor 'a' has no dtype, shape and offsets"),
    "entry-list": (header({"a": []}), "tensor 'a' has no dtype, shape and offsets"),
    "entry-empty": (header({"a": {}}), "tensor 'a' has no dtype, shape and offsets"),
    "dtype-unknown": (tensor(dtype="F31"), "tensor 'a' has no dtype, shape and offsets"),
    "dtype-number": (tensor(dtype=32), "tensor 'a' has no dtype, shape and offsets"),
    "shape-negative": (tensor(shape=[-2]), "tensor 'a' has no dtype, shape and offsets"),
    "shape-text": (tensor(shape="2"), "tensor 'a' has no dtype, shape and offsets"),
    "shape-fraction": (tensor(shape=[2.0]), "tensor 'a' has no dtype, shape and offsets"),
    "shape-true": (tensor(shape=[True, 2]), "tensor 'a' has no dtype, shape and offsets"),
    "shape-another": (tensor(shape=[3]), "tensor 'a' of shape [3] in F32 has 8 bytes"),
    "shape-huge": (tensor(shape=[2**60, 2**60]), "tensor 'a' of shape"),
    "offsets-one": (tensor(data_offsets=[0]), "tensor 'a' has no dtype, shape and offsets"),
    "offsets-three": (tensor(data_offsets=[0, 4, 8]), "tensor 'a' has no dtype, shape and offsets"),
    "offsets-negative": (tensor(data_offsets=[-8, 0]), "tensor 'a' has no dtype, shape and offsets"),
    "offsets-backwards": (tensor(data_offsets=[8, 0]), "has -8 bytes"),
    "offsets-late": (tensor(data_offsets=[8, 16]), "leave a gap at byte 0"),
    "offsets-far": (tensor(data_offsets=[2**62, 2**62 + 8]), "leave a gap at byte 0"),
    "overlapping": (header({"a": TENSOR, "b": TENSOR}), "overlap at byte 0"),
    "overlapping-partly": (header({"a": TENSOR, "b": {**TENSOR, "data_offsets": [4, 12]}}, 12), "overlap at byte 4"),
    "gap": (header({"a": TENSOR, "b": {**TENSOR, "data_offsets": [12, 20]}}, 20), "leave a gap at byte 8"),
    "cut-body": (header({"a": TENSOR}, 7), "truncated: 7 of 8 bytes"),
    "long-body": (header({"a": TENSOR}, 9), "1 bytes behind its last tensor"),
    "long-name": (header({"a" * 10**6: None}), "has no dtype, shape and offsets"),
    "folder": (instead(Path.mkdir), "not a regular file"),
    "pipe": (instead(inputs.pipe), "not a regular file"),
    "device": (instead(inputs.device), "not a regular file"),
    "loop": (instead(inputs.loop), "symbolic links"),
    "forbidden": (instead(inputs.forbidden), "Permission denied"),
}  # fmt: skip
"""What the file becomes, and what the line says of it."""
ELSEWHERE = {
    "empty",
    "no-json",
    "deep",
    "1e999",
    "overlapping",
    "cut-body",
    "folder",
    "pipe",
    "device",
    "loop",
    "forbidden",
}
"""Of these, what is tried in traces and goldens too: the reader is the same."""
PLACES = {
    "checkpoint": ("model/model.safetensors", inputs.checkpoint, "steps --model model", "fetch it again"),
    "trace": ("oracle/tensors/prefill.safetensors", inputs.traces, "show oracle", "write the trace again"),
    "golden": ("goldens/one-shot/prefill.safetensors", inputs.goldens, f"golden check {inputs.SET}", "make it again"),
}
"""Where such a file is, what is around it, what reads it, and what to do."""


def spoilt() -> list[Row]:
    """A checkpoint's file in every way, the others in some."""
    return [
        Row(f"{kind}-{how}", command, inputs.at(path, around, inputs.alone, spoil), 2,
            (said, cure, path.rpartition("/")[2]), unprivileged=how == "forbidden")
        for kind, (path, around, command, cure) in PLACES.items() for how, (spoil, said) in HEADERS.items()
        if kind == "checkpoint" or how in ELSEWHERE
    ]  # fmt: skip


def arrays(**changed: Any) -> Spoil:
    """A golden's arrays, some of them others."""
    from safetensors.numpy import load_file

    def spoil(file: Path) -> None:
        made = {**load_file(file), **changed}
        file.write_bytes(save({name: array for name, array in made.items() if array is not None}))

    return spoil


ARRAYS: dict[str, tuple[Spoil, str]] = {
    "none": (data(save({})), "no array shape"),
    "no-sketch": (arrays(sketch=None), "none sketch"),
    "no-shape": (arrays(shape=None), "no array shape"),
    "no-floor": (arrays(**{"floor.float32": None}), "none floor.float32"),
    "one-row-less": (arrays(rms=np.zeros(STEPS - 1, np.float32)), "not of 1229 rows"),
    "no-axis": (arrays(rms=np.array(1, np.float32)), "not of 1229 rows"),
    "sketch-short": (arrays(sketch=np.zeros((STEPS, 9), np.uint8)), "sketch"),
    "sketch-floats": (arrays(sketch=np.zeros((STEPS, 93), np.float32)), "float32"),
    "summary-narrow": (arrays(summary=np.zeros((STEPS, 2), np.float32)), "summary"),
    "shape-unknown": (arrays(shape=np.full(STEPS, 60_000, np.uint16)), "a shape that the manifest lacks"),
    "shape-negative": (arrays(shape=np.full(STEPS, -1, np.int16)), "int16"),
}


def spoilt_arrays() -> list[Row]:
    """Arrays of a golden that do not fit."""
    path, around, command, cure = PLACES["golden"]
    return [
        Row(name, command, inputs.at(path, around, spoil), 2, (said, cure)) for name, (spoil, said) in ARRAYS.items()
    ]


@table(spoilt())
def test_headers(row, refused):
    refused(row)


@table(spoilt_arrays())
def test_arrays_of_a_golden(row, refused):
    refused(row)
