"""The header of a safetensors file, looked at before a library maps the file: what it promises is what is there.

The format (https://github.com/huggingface/safetensors#format) is a little-endian length, a JSON header padded with
spaces to eight bytes, and the data.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from parity.json_file import parse_json

LONGEST = 100_000_000
"""Bytes of a header that the format allows."""
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Bits of a number in each of the format's dtypes."""
FORMATS: Mapping[str, np.dtype[Any]] = {
    **{f"{kind}{size}": np.dtype(f"<{kind.lower()}{size // 8}") for kind in "IUF" for size in (16, 32, 64)},
    "BOOL": np.dtype("?"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
}
"""The dtypes that are read and written here, by the format's names."""

Header = dict[str, Any]
Span = tuple[int, int]


def header_of(tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str] | None = None) -> bytes:
    """Length and JSON header of tensors, given by format and shape, that follow it in the order of the mapping."""
    entries: Header = {"__metadata__": dict(metadata)} if metadata else {}
    begin = 0
    for name, (dtype, shape) in tensors.items():
        end = begin + BITS[dtype] * math.prod(shape) // 8
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def read_header(file: Path) -> Header:
    """The header of a file that is whole: tensors follow it without gaps, each as long as its shape says.

    Raises:
        ValueError: when that is not so, in a few words.
    """
    length, size = 0, 0
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise ValueError("not a regular file")
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > size - 8:
                raise ValueError("truncated or no safetensors file")
            if length > LONGEST:
                raise ValueError(f"a header of {length:,} bytes; the format has at most {LONGEST:,}")
            header = parse_json(stream.read(length))
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    _require_filled(_spans(header), size - 8 - length)
    return header  # type: ignore[no-any-return]  # an object, or it has no spans


def _spans(header: Any) -> list[Span]:
    """Where each tensor lies, counted from the end of the header."""
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    return [_span(name, entry) for name, entry in header.items() if name != "__metadata__"]


def _span(name: str, entry: Any) -> Span:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [begin, end]} if dtype in BITS:
            if all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
                if (end - begin) * 8 != BITS[dtype] * math.prod(shape):
                    raise ValueError(f"tensor {name[:100]!r} of shape {shape} in {dtype} has {end - begin} bytes")
                return begin, end
    raise ValueError(f"tensor {name[:100]!r} has no dtype, shape and offsets of the format")


def _require_filled(spans: Iterable[Span], size: int) -> None:
    """Refuse tensors that overlap or leave a gap, and a file that ends before or behind them."""
    ordered = sorted([(0, 0), *spans])
    for (_, end), (begin, _) in pairwise(ordered):
        if begin != end:
            raise ValueError(f"tensors {'overlap' if begin < end else 'leave a gap'} at byte {min(begin, end):,}")
    if (promised := ordered[-1][1]) != size:
        raise ValueError(f"truncated: {size:,} of {promised:,} bytes of tensors" if size < promised else
                         f"{size - promised:,} bytes behind its last tensor")  # fmt: skip
