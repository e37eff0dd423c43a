"""Dumps of other tools that cannot be: spoilt, of other kinds, or larger than they are."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.bad_input import inputs
from tests.bad_input.inputs import Spoil, data
from tests.bad_input.table import Row, table
from tests.bad_input.test_weights import header, tensor


def archive(**members: Any) -> bytes:
    """A NumPy archive of members that are arrays, or bytes as they are."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        for name, member in members.items():
            opened.writestr(f"{name}.npy", member if isinstance(member, bytes) else array(member))
    return made.getvalue()


def array(numbers: Any) -> bytes:
    """An array in NumPy's format."""
    made = io.BytesIO()
    np.save(made, numbers)
    return made.getvalue()


def promised(shape: Any, dtype: str = "<f4") -> bytes:
    """The header of an array alone."""
    made = io.BytesIO()
    np.lib.format.write_array_header_1_0(made, {"descr": dtype, "fortran_order": False, "shape": shape})
    return made.getvalue()


WHOLE = array(np.ones(20))
SPOILT: dict[str, tuple[str, Spoil, str]] = {
    "npy-empty": ("npy", data(b""), "expected 8 bytes"),
    "npy-no-magic": ("npy", data(b"\0" * 200), "magic string is not correct"),
    "npy-cut": ("npy", data(WHOLE[:-8]), "is cut off"),
    "npy-huge": ("npy", data(promised((2**40, 2**40))), "is cut off"),
    "npy-negative": ("npy", data(promised((-4, 4))), "is cut off"),
    "npy-version": ("npy", data(b"\x93NUMPY\x03\x00" + bytes(50)), "NumPy's format 3.0 is not of numbers"),
    "npy-header": ("npy", data(b"\x93NUMPY\x01\x00\x08\x00{'a': 1}"), "Header"),
    "npy-program": ("npy", data(b"\x93NUMPY\x01\x00\x08\x00exit(99)"), "malformed node"),
    "npy-objects": ("npy", data(promised((20,), "|O")), "is cut off"),
    "npy-integers": ("npy", data(array(np.arange(20))), "has no tensor of real numbers"),
    "npz-empty": ("npz", data(b""), "not a zip file"),
    "npz-cut": ("npz", data(archive(x=np.ones(20))[:-30]), "not a zip file"),
    "npz-no-arrays": ("npz", data(archive()), "has no tensor of real numbers"),
    "npz-text": ("npz", data(archive(x=b"no array")), "magic string is not correct"),
    "npz-huge": ("npz", data(archive(x=promised((2**62,)))), "is cut off"),
    "safetensors-empty": ("safetensors", data(b""), "truncated or no safetensors file"),
    "safetensors-pickle": ("safetensors", data(b"\x80\x04\x95" + bytes(100)), "truncated or no safetensors file"),
    "safetensors-huge": ("safetensors", tensor(shape=[2**60, 2**60]), "tensor 'a' of shape"),
    "safetensors-no-tensor": ("safetensors", header({}, body=0), "has no tensor of real numbers"),
    "pt-empty": ("pt", data(b""), "not a zip file"),
    "pt-pickle": ("pt", data(b"\x80\x04\x95" + bytes(100)), "not a zip file"),
    "pt-program": ("pt", data(b"c__builtin__\nprint\n(Vit ran\ntR."), "not a zip file"),
}


def spoilt(name: str, suffix: str, spoil: Spoil, reason: str) -> Row:
    """A dump of one file."""

    def make(folder: Path) -> None:
        inputs.traces(folder)
        spoil(folder / f"dump.{suffix}")

    return Row(name, f"diff oracle dump.{suffix}", make, 2, ("dump", reason))


def without_torch(folder: Path) -> None:
    """Traces, and a file that only torch reads."""
    inputs.traces(folder)
    (folder / "dump.pt").write_bytes(archive())


def several(folder: Path) -> None:
    """Traces, and two dumps."""
    inputs.traces(folder)
    for name in ("one", "two"):
        np.save(folder / f"{name}.npy", np.ones(20))


def nothing_known(folder: Path) -> None:
    """Traces, and a folder of files of another kind."""
    inputs.traces(folder)
    (folder / "dump").mkdir()
    (folder / "dump" / "q.bin").write_bytes(bytes(80))


ROWS = [
    *(spoilt(name, *rest) for name, rest in SPOILT.items()),
    Row("no-torch", "diff oracle dump.pt", without_torch, 3, ("torch is not installed", "install [hf]")),
    Row("two-dumps", "diff oracle one.npy two.npy", several, 2, ("by itself",)),
    Row("dump-and-trace", "diff oracle one.npy port.free", several, 2, ("by itself",)),
    Row("lockstep-floor", "diff oracle one.npy --baseline baseline.lockstep", several, 2, ("give that as --baseline",)),
    Row("ports-floor", "diff oracle one.npy --baseline port.free", several, 2, ("a floor is what the reference errs",)),
    Row("missing", "diff oracle nowhere.npz", several, 2, ("nowhere.npz: no such file",)),
    Row("other-files", "diff oracle dump", nothing_known, 2, ("is not a trace",)),
]


@table(ROWS)
def test_dumps(row, refused):
    refused(row)
