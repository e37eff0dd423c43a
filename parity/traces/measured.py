"""What a run errs, measured while it runs, so that none of its tensors needs to be kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from parity.errors import UsageError
from parity.traces.measure import Error, error_between
from parity.traces.trace import Key, Mode, Trace

PLAIN = "plain"
"""The execution that adds one term after the other; every other is as right as the usual one."""
MODES: tuple[Mode, Mode] = ("free", "lockstep")
"""The two runs of a party, in the order in which they are made and told."""
Errors = Mapping[Key, Error]
"""The error of each step that a run emitted in the oracle's shape."""


@dataclass(frozen=True, eq=False)
class Execution:
    """What a further execution of the baseline errs.

    Attributes:
        name: the reference's name of it.
        free: in the free run.
        lockstep: from exact inputs, under the coverage that it was asked for.
    """

    name: str
    free: Errors
    lockstep: Errors

    def times(self, factor: float) -> Execution:
        """One that errs so many times as much."""
        free, lockstep = (
            {key: error.times(factor) for key, error in run.items()} for run in (self.free, self.lockstep)
        )
        return Execution(self.name, free, lockstep)


class Measurement:
    """Takes the tensors of a run and keeps their errors.

    Args:
        oracle: its trace, with tensors.
        dtype: the arithmetic of the run.
        excess: how many times larger than those of rounding to nearest the execution's errors are; taken off.
    """

    def __init__(self, oracle: Trace, dtype: str, excess: float = 1.0) -> None:
        self.errors: dict[Key, Error] = {}
        self._oracle, self._dtype, self._excess = oracle, dtype, excess
        self._phase = ""

    def begin(self, phase: str) -> None:
        """Tensors that follow are of `phase`."""
        self._phase = phase

    def add(self, step: str, occurrence: int, axes: tuple[str, ...], array: NDArray[Any]) -> None:
        """Measure one tensor; what the oracle lacks, or has in another shape, has no error."""
        key = Key(self._phase, step, occurrence)
        true = self._oracle.tensor(key) if key in self._oracle.records else None
        if true is not None and true.shape == array.shape:
            error = error_between(key, oracle=self._oracle, true=true, made=array, dtype=self._dtype)
            self.errors[key] = error if self._excess == 1 else error.times(1 / self._excess)

    def end(self) -> None:
        """Nothing is left to do."""


_TEXT = TypeAdapter(list[tuple[Key, Error]], config=ConfigDict(ser_json_inf_nan="constants"))


def to_text(errors: Errors) -> str:
    """Errors as JSON, for a pipe between processes."""
    return _TEXT.dump_json(list(errors.items())).decode()


def from_text(text: str) -> dict[Key, Error]:
    """Inverse of `to_text`.

    Raises:
        UsageError: for anything else.
    """
    try:
        return dict(_TEXT.validate_json(text))
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise UsageError(f"the errors of an execution cannot be read ({problem}); compare again") from error


def write(execution: Execution, folder: Path) -> None:
    """Keep what an execution errs in a new folder."""
    folder.mkdir(parents=True)
    for mode in MODES:
        (folder / f"{mode}.json").write_text(to_text(getattr(execution, mode)), encoding="utf-8")


def read(folder: Path) -> Execution:
    """Inverse of `write`; the folder's name ends in the execution's.

    Raises:
        UsageError: where a file is missing or is something else.
    """
    try:
        free, lockstep = (from_text((folder / f"{mode}.json").read_text(encoding="utf-8")) for mode in MODES)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{folder} does not hold the errors of an execution ({error}); compare again") from error
    return Execution(folder.name.rpartition(".")[2], free, lockstep)
