"""coremltools, without what it says at each import: which versions of others it was not tested with."""

from __future__ import annotations

import contextlib
import io
import logging

logging.getLogger("coremltools").setLevel(logging.ERROR)
with contextlib.redirect_stderr(io.StringIO()):
    import coremltools
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil import Program as MilProgram
    from coremltools.converters.mil.frontend.milproto import load as milproto
    from coremltools.converters.mil.frontend.torch import ops
    from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op
    from coremltools.converters.mil.mil.ops.defs.iOS15.tensor_operation import identity as Identity
    from coremltools.models import utils

__all__ = ["Builder", "Identity", "MilProgram", "coremltools", "milproto", "ops", "register_torch_op", "utils"]
