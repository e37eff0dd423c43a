"""mlx-lm with lines of its source replaced in memory, as a candidate ``tools.heldout.port:Planted@edits=FILE``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import TypeAdapter

from implementations.mlx_lm.any_model import Backend
from parity.site import Edit, Heard
from parity.weave import weave
from tools.heldout.plants import MAKER

OPTION = "edits"
EDITS = TypeAdapter(tuple[Edit, ...])


def _as_it_is(heard: Heard) -> Any:
    return heard.value


class Planted(Backend):
    """The installed package, wrong where a file says so; without one as it is."""

    options: ClassVar[Mapping[str, str]] = {**Backend.options, OPTION: "a file of edits, as the list of drawn faults"}
    forks: ClassVar[bool] = True

    @classmethod
    def load(cls, checkpoint: Path, dtype: str, **options: str) -> Self:
        """Load; edits of constructors are in force meanwhile, all others while it runs.

        Raises:
            BackendUnavailable: as the package's own, and where the source is another.
        """
        file = options.pop(OPTION, "")
        edits: Sequence[Edit] = EDITS.validate_json(Path(file).read_bytes()) if file else ()
        making = [edit for edit in edits if edit.function.endswith(f".{MAKER}")]
        with weave((), _as_it_is, making):
            found = super().load(checkpoint, dtype, **options)
        found.edits = (*found.edits, *(edit for edit in edits if edit not in making))
        return found
