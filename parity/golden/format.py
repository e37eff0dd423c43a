"""A golden on disk; the format is described in docs/golden-format.md.

A folder: ``manifest.json``, ``tokens.tsv`` and ``floors.tsv`` for reviewers, ``<phase>.safetensors`` for the judge, and
``media/`` where the prompt has some. Nothing in it depends on when it was made, or where.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from parity.errors import StaleTrace, UsageError
from parity.golden.tables import FamilyFloor, GreedyChoice, read_choices, read_floors, write_choices, write_floors
from parity.json_file import read_json
from parity.media import FOLDER
from parity.names import Name
from parity.safetensors_header import read_header
from parity.scenario import Scenario

GOLDEN_VERSION = 1

Arrays = dict[str, npt.NDArray[Any]]

DTYPES = {"sketch": "uint8", "scale": "float32", "rms": "float32", "summary": "bfloat16", "shape": "uint16"}
"""Of the arrays of a chunk, besides the floors."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ChunkManifest(_Strict):
    """What a chunk's file holds.

    Attributes:
        records: rows of every array, one a step of the contract, in execution order.
        shapes: the shapes that occur; the array ``shape`` says which a step has.
        nonfinite: steps with NaN or infinities, and how many of each; usually none.
    """

    phase: Name
    records: int
    shapes: list[list[int]]
    nonfinite: dict[str, tuple[int, int]] = {}


class GoldenManifest(_Strict):
    """Where a golden is from. Fields are documented in docs/golden-format.md."""

    format: Literal["parity-golden"] = "parity-golden"
    version: int = GOLDEN_VERSION
    name: Name
    model: str
    weights: str
    contract: str
    steps: str
    reference: str
    versions: dict[str, str]
    dtypes: list[str]
    prompt: str | None
    command: str
    scenario: dict[str, Any]
    tokens: int
    chunks: list[ChunkManifest]


@dataclass(frozen=True, eq=False)
class Golden:
    """One golden, whole in memory.

    Attributes:
        manifest: where it is from.
        arrays: per phase, see `parity.golden.packing`.
        choices: the oracle's greedy tokens.
        floors: the largest floors of each family of steps, for reviewers.
        media: the folder that keeps the prompt's files; None where it has none.
    """

    manifest: GoldenManifest
    arrays: dict[str, Arrays]
    choices: tuple[GreedyChoice, ...]
    floors: tuple[FamilyFloor, ...]
    media: Path | None = None


def write_golden(golden: Golden, folder: Path) -> None:
    """Write a golden into a new folder; the same golden gives the same bytes."""
    folder.mkdir(parents=True)
    for phase, arrays in golden.arrays.items():
        (folder / f"{phase}.safetensors").write_bytes(save(arrays))
    if golden.media is not None:
        shutil.copytree(golden.media, folder / FOLDER)
    write_choices(golden.choices, golden.manifest.dtypes, folder / "tokens.tsv")
    write_floors(golden.floors, golden.manifest.dtypes, folder / "floors.tsv")
    dump(golden.manifest.model_dump(), folder / "manifest.json")


def read_golden(folder: Path) -> Golden:
    """Read a golden.

    Raises:
        StaleTrace: when it has another format version.
        UsageError: when it is missing, cut off or malformed.
    """
    try:
        manifest = _manifest(folder)
        Scenario.from_json(manifest.scenario)  # its names are those of files
        arrays = {chunk.phase: _arrays(folder, chunk) for chunk in manifest.chunks}
        choices = read_choices(manifest.dtypes, folder / "tokens.tsv")
        floors = read_floors(manifest.dtypes, folder / "floors.tsv")
        if len(choices) != manifest.tokens:
            raise ValueError(f"{len(choices)} of {manifest.tokens} tokens")
    except (OSError, SafetensorError, ValueError, UsageError) as error:
        raise UsageError(f"golden {folder} cannot be read ({_short(error)}); restore it, or make it again") from error
    return Golden(manifest, arrays, choices, floors, found if (found := folder / FOLDER).is_dir() else None)


def dump(data: Any, path: Path) -> None:
    """Write JSON that can be read and compared: a line for each field, and for each object in a list."""
    path.write_text(_lines(data, "") + "\n", encoding="utf-8")


def _lines(data: Any, margin: str) -> str:
    inner = margin + " "
    if isinstance(data, dict) and margin in ("", " "):
        fields = (f"{json.dumps(name)}: {_lines(value, inner)}" for name, value in data.items())
        return "{\n" + ",\n".join(inner + field for field in fields) + f"\n{margin}}}"
    if isinstance(data, list) and data and isinstance(data[0], dict):
        return "[\n" + ",\n".join(inner + json.dumps(item) for item in data) + f"\n{margin}]"
    return json.dumps(data)


def _manifest(folder: Path) -> GoldenManifest:
    data = read_json(folder / "manifest.json")
    version = data.get("version") if isinstance(data, dict) else None
    if version != GOLDEN_VERSION:
        raise StaleTrace(f"golden {folder}: format version {version}, this is {GOLDEN_VERSION}")
    return GoldenManifest.model_validate(data)


def _arrays(folder: Path, chunk: ChunkManifest) -> Arrays:
    file = folder / f"{chunk.phase}.safetensors"
    try:
        read_header(file)
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from error
    arrays: Arrays = load_file(file)
    if wrong := [name for name, array in arrays.items() if array.shape[:1] != (chunk.records,)]:
        raise ValueError(f"{chunk.phase}: {wrong[0]} of shape {arrays[wrong[0]].shape}, not of {chunk.records} rows")
    for name, dtype in DTYPES.items():
        if name in arrays and (found := arrays[name].dtype.name) != dtype:
            raise ValueError(f"{chunk.phase}: {name} is in {found}, not in {dtype}")
    if "shape" not in arrays:
        raise ValueError(f"{chunk.phase}: no array shape")
    if np.max(arrays["shape"], initial=0) >= max(1, len(chunk.shapes)):
        raise ValueError(f"{chunk.phase}: a shape that the manifest lacks")
    return arrays


def _short(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"manifest.json: {'.'.join(map(str, problem['loc']))}: {problem['msg']}"
    return " ".join(str(error).split())[:200]
