"""mlx-lm with lines of its source replaced in memory, as a candidate ``tools.heldout.port:Planted@edits=FILE``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import TypeAdapter

from implementations.mlx_lm.any_model import Backend
from parity.site import Edit

OPTION = "edits"
EDITS = TypeAdapter(tuple[Edit, ...])


class Planted(Backend):
    """The installed package, wrong where a file says so; without one as it is."""

    options: ClassVar[Mapping[str, str]] = {**Backend.options, OPTION: "a file of edits, as the list of drawn faults"}
    forks: ClassVar[bool] = True

    @classmethod
    def mends(cls, checkpoint: Path, options: Mapping[str, str]) -> Sequence[Edit]:
        """Those of the package, and the file's."""
        file = options.get(OPTION, "")
        planted = EDITS.validate_json(Path(file).read_bytes()) if file else ()
        return (*super().mends(checkpoint, options), *planted)
