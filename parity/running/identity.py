"""All that a run of the reference depends on, besides what it is asked to run."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import xxhash

from parity.checkpoint import Checkpoint
from parity.discovery import REFERENCES, TABLE, Choice, find_reference, is_installed

ARITHMETIC = (
    "ATEN", "BLIS", "CUBLAS", "CUDA", "DNNL", "GOTO", "HIP", "KMP", "LD", "MALLOC", "MKL", "NUMEXPR", "NVIDIA", "OMP",
    "ONEDNN", "OPENBLAS", "PYTHON", "PYTORCH", "TORCH", "TRANSFORMERS", "VECLIB",
)  # fmt: skip
"""What the names of variables begin with that choose code, threads or libraries."""
SMALL = ("*.json", "*.jinja", "*.model", "*.txt")
"""Files of a checkpoint beside its weights, which say how text, pictures and sounds are read."""


def identity(reference: str, checkpoint: Checkpoint, environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What a reference, a checkpoint and this machine are, as JSON; None for a reference that is not installed.

    A user's own module may import whatever lies beside it, so nobody can say what it depends on.
    """
    if not is_installed(reference, REFERENCES):
        return None
    found, choice = find_reference(reference), Choice.parse(reference)
    table = dict(choice.options).get(TABLE)
    variables = {**os.environ, **found.environment(), **environment}
    return {
        "reference": choice.shown,
        "table": table and (xxhash.xxh3_128_hexdigest(Path(table).read_bytes()) if Path(table).is_file() else table),
        "class": f"{found.__module__}:{found.__qualname__}",
        "source": [source_digest(found.__module__.partition(".")[0]), source_digest("parity")],
        "libraries": [_installed(), *map(_stamp, found.versions())],
        "python": sys.version,
        "machine": _machine(),
        "environment": {name: value for name, value in sorted(variables.items()) if name.split("_")[0] in ARITHMETIC},
        "checkpoint": [checkpoint.name, checkpoint.weights, _small(checkpoint.path)],
    }


def source_digest(package: str) -> str:
    """Digest of all Python files of a package or module: who changes a line, of whichever file, begins anew."""
    state = xxhash.xxh3_128()
    for file in sorted(_files(package)):
        state.update(file.read_bytes())
    return state.hexdigest()


def _files(package: str) -> Iterator[Path]:
    spec = find_spec(package)
    if spec and spec.submodule_search_locations is None and spec.origin:
        yield Path(spec.origin)  # a user's port is often a single file
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield from Path(folder).rglob("*.py")


def _installed() -> str:
    """Digest of what is installed, of all versions: each has a folder of that name."""
    names = {path.name for place in sys.path for path in Path(place or ".").glob("*.dist-info")}
    return xxhash.xxh3_128_hexdigest("\n".join(sorted(names)).encode())


def _stamp(library: str) -> str:
    """Digest of the sizes and times of a library's Python files, for who edits one where it is installed."""
    state = xxhash.xxh3_128()
    for file in sorted(_files(library)):
        state.update(f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}\n".encode())
    return state.hexdigest()


def _machine() -> list[Any]:
    """The processor with what it can do, and how many of its cores this process may use."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
        kept = [line for line in told if line.startswith(("model name", "flags", "Features", "CPU part"))]
    except OSError:
        kept = [platform.processor()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [platform.system(), platform.machine(), xxhash.xxh3_64_hexdigest("\n".join(kept).encode()), cores]


def _small(folder: Path) -> str:
    state = xxhash.xxh3_128()
    for file in sorted({file for pattern in SMALL for file in folder.glob(pattern)}):
        state.update(file.name.encode() + b"\0" + file.read_bytes())
    return state.hexdigest()
