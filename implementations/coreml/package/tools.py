"""coremltools, without what it says at each import: which versions of others it was not tested with."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

logging.getLogger("coremltools").setLevel(logging.ERROR)
with contextlib.redirect_stderr(io.StringIO()):
    import coremltools
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil import Program as MilProgram
    from coremltools.converters.mil.frontend.milproto import load as milproto
    from coremltools.converters.mil.frontend.torch import ops
    from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op
    from coremltools.converters.mil.mil import types
    from coremltools.converters.mil.mil.block import Block as MilBlock
    from coremltools.converters.mil.mil.ops.defs.iOS15.tensor_operation import identity as Identity
    from coremltools.models import utils
    from coremltools.proto import MIL_pb2

__all__ = [
    "Builder", "Identity", "MilBlock", "MilProgram", "coremltools", "milproto", "ops", "read_blob", "register_torch_op",
    "stored", "utils",
]  # fmt: skip

FORMATS = {types.builtin_to_string(kind): kind for kind in types.PROTO_TO_BUILTIN_TYPE.values()}
"""Number formats by the names that programs have for them."""


def stored(number: str) -> np.dtype[Any]:
    """What numbers of a format are held in, by a program's name for it; those of fewer than 8 bits are held in 8.

    Raises:
        ValueError: for one that there is not.
    """
    if number not in FORMATS:
        raise ValueError(f"numbers in {number}")
    return np.dtype(types.nptype_from_builtin(FORMATS[number]))


def read_blob(file: Path, offset: int, number: str) -> NDArray[Any]:
    """The numbers of a file of weights behind an offset, in a row.

    Raises:
        ValueError: where there are none.
    """
    stored(number)
    if not file.is_file():
        raise ValueError(f"there is no {file.name}, which it reads weights of")
    context = milproto.TranscriptionContext(str(file.parent))
    at = MIL_pb2.Value.BlobFileValue(fileName=file.name, offset=offset)
    try:
        return np.asarray(milproto._load_file_value(context, at, FORMATS[number]))
    except (IndexError, RuntimeError, ValueError) as error:
        raise ValueError(f"no weights in {number} at {offset} of {file.name}: {error}") from error
