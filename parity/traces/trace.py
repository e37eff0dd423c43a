"""Traces on disk: what one party said while it ran one scenario. The format is described in docs/trace-format.md.

A trace is a directory: ``manifest.json``, ``steps.jsonl`` (a record per step, in execution order), and, where tensors
were kept, ``tensors/<phase>.safetensors``. It is written under a temporary name and renamed when it is complete.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer
from safetensors import SafetensorError, safe_open

from parity.contract import Contract
from parity.dtypes import name_of
from parity.errors import StaleTrace, UsageError
from parity.json_file import parse_json, read_text
from parity.names import Name
from parity.safetensors_header import read_header
from parity.scenario import Scenario
from parity.traces.encoded import MEASURED, Count, Shape, Sketch, decode_sketch
from parity.traces.statistics import Statistics, digest_of

TRACE_VERSION = 1

CURE = "; write the trace again"

Mode = Literal["free", "lockstep"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Manifest(_Strict):
    """Who ran what. Fields are documented in docs/trace-format.md."""

    format: Literal["parity-trace"] = "parity-trace"
    version: int = TRACE_VERSION
    backend: str
    versions: dict[str, str]
    dtype: str
    mode: Mode
    model: str
    weights: str
    contract: str
    scenario: dict[str, Any]
    tensors: bool
    records: Count
    command: list[str] = []
    machine: dict[str, str] = {}
    hidden: dict[str, str] = {}
    returned: dict[str, str] = {}

    @model_serializer(mode="wrap")
    def _without_nothing(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """`returned` only where there is something to say, which a right party never has."""
        data: dict[str, Any] = fields(self)
        return data if self.returned else {name: value for name, value in data.items() if name != "returned"}

    def why_hidden(self, step: str) -> str:
        """Why no tap can stand at a step that was not emitted; empty where the writer does not say that."""
        return next((reason for pattern, reason in self.hidden.items() if fnmatchcase(step, pattern)), "")


class Record(_Strict):
    """One step as one party saw it; `sketch` is base64 of 61 little-endian float64."""

    step: str
    phase: Name
    occurrence: Count = 0
    axes: list[str]
    shape: Shape
    dtype: str
    min: float = 0.0
    max: float = 0.0
    mean: float = 0.0
    std: float = 0.0
    rms: float = 0.0
    abs_max: float = 0.0
    zero_fraction: float = 0.0
    nan_count: Count = 0
    inf_count: Count = 0
    digest: str = ""
    sketch: Sketch = ""

    @property
    def key(self) -> Key:
        """What records of two traces are matched by."""
        return Key(self.phase, self.step, self.occurrence)

    @property
    def tensor_name(self) -> str:
        """The tensor's name inside its phase's safetensors file."""
        return self.step if self.occurrence == 0 else f"{self.step}#{self.occurrence}"


class Key(NamedTuple):
    """Identity of a record: matched by name and occurrence within a phase, never by the order of calls."""

    phase: str
    step: str
    occurrence: int = 0


@dataclass(frozen=True, eq=False)
class Trace:
    """A trace that was read and found complete."""

    path: Path
    manifest: Manifest
    records: dict[Key, Record]
    _open: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _undamaged: set[Key] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def read(cls, path: Path) -> Trace:
        """Read a trace directory.

        Raises:
            StaleTrace: when it has another format version.
            UsageError: when it is missing, cut off, malformed, lacks a file, or says something twice.
        """
        manifest = _manifest(path)
        trace = cls(path, manifest, _by_key(path, _records(path, manifest.records)))
        trace._require_phases()
        if manifest.tensors:
            for record in trace.records.values():
                trace._require_tensor(record)
        return trace

    @cached_property
    def scenario(self) -> Scenario:
        """What was run.

        Raises:
            UsageError: when it cannot be run.
        """
        with self._named():
            return Scenario.from_json(self.manifest.scenario)

    @cached_property
    def contract(self) -> Contract:
        """The contract kept beside an oracle's trace.

        Raises:
            UsageError: when this trace has none, or it is not the one that its manifest names.
        """
        path = self.path / "contract.json"
        data = _json(_read(path, "is no oracle's trace: it"), path)
        with self._named():
            found = Contract.from_json(data)
        if found.digest != self.manifest.contract:
            named = f"its digest is {found.digest}, the manifest names {self.manifest.contract}"
            raise UsageError(f"{path} is not the contract that the trace was written with ({named}); write it again")
        return found

    @contextmanager
    def _named(self) -> Iterator[None]:
        """What is wrong inside is said of this trace."""
        try:
            yield
        except UsageError as error:
            raise UsageError(f"trace {self.path}: {str(error).removesuffix(CURE)}{CURE}") from error

    def same(self, key: Key, other: Trace) -> bool:
        """Whether both traces hold the same values at a step, to the bit."""
        one, two = (trace.records.get(key) for trace in (self, other))
        if one is None or two is None:
            return False
        return (one.digest, one.shape, one.dtype) == (two.digest, two.shape, two.dtype)

    def tensor(self, key: Key) -> NDArray[Any] | None:
        """The tensor of a record, or None where tensors were not kept.

        Raises:
            UsageError: where it is not the tensor that was recorded.
        """
        record = self.records[key]
        if not self.manifest.tensors:
            return None
        array: NDArray[Any] = self._file(record.phase).get_tensor(record.tensor_name)
        if key not in self._undamaged:
            self._require_undamaged(record, array)
            self._undamaged.add(key)
        return array

    def statistics(self, key: Key) -> Statistics:
        """The statistics of a record."""
        return statistics_of(self.records[key])

    def _file(self, phase: str) -> Any:
        if phase not in self._open:
            path = self.path / "tensors" / f"{phase}.safetensors"
            try:
                read_header(path)
                self._open[phase] = safe_open(path, framework="np")
            except (OSError, ValueError, SafetensorError) as error:
                raise UsageError(
                    f"trace {self.path}: {path.name} is missing or cut off ({error}); write the trace again"
                ) from error
        return self._open[phase]

    def _require_phases(self) -> None:
        """Refuse records of a chunk that was not run: nobody would look at them."""
        phases = {chunk.phase for chunk in self.scenario.chunks}
        if strange := next((key for key in self.records if key.phase not in phases), None):
            raise UsageError(
                f"trace {self.path}: steps.jsonl has {strange.step} in {strange.phase}, a phase that the manifest's "
                f"scenario lacks; it has {', '.join(sorted(phases))}; write the trace again"
            )

    def _require_undamaged(self, record: Record, array: NDArray[Any]) -> None:
        """Refuse a tensor that was changed since: whoever is wrong alike would pass. A writer may give no digest."""
        dtype, digest = name_of(array), digest_of(array) if record.digest else ""
        if (dtype, digest) != (record.dtype, record.digest.lower()):
            found = f"{dtype} with digest {digest or 'unknown'}"
            raise UsageError(
                f"trace {self.path}: the tensor of {record.step} in {record.phase} is not the one that was recorded "
                f"({found}, steps.jsonl says {record.dtype} with {record.digest or 'none'}); write the trace again"
            )

    def _require_tensor(self, record: Record) -> None:
        try:
            shape = self._file(record.phase).get_slice(record.tensor_name).get_shape()
        except SafetensorError as error:
            raise UsageError(
                f"trace {self.path}: no tensor {record.tensor_name} in {record.phase}; write the trace again"
            ) from error
        if list(shape) != record.shape:
            said = f"{record.step} is recorded as {record.shape}, its tensor is {shape}"
            raise UsageError(f"trace {self.path}: {said}; write the trace again")


def statistics_of(record: Record) -> Statistics:
    """The record's statistics, the sketch decoded."""
    values = {name: getattr(record, name) for name in MEASURED}
    return Statistics(**values, count=math.prod(record.shape), sketch=decode_sketch(record.sketch))


def _manifest(path: Path) -> Manifest:
    data = _json(_read(path / "manifest.json", "is not a trace: it"), path / "manifest.json")
    version = data.get("version") if isinstance(data, dict) else None
    if version != TRACE_VERSION:
        raise StaleTrace(f"trace {path}: format version {version}, this is {TRACE_VERSION}; write the trace again")
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"trace {path}: manifest.json: {_first(error)}; write the trace again") from error


def _records(path: Path, expected: int) -> Iterator[Record]:
    lines = _read(path / "steps.jsonl", "is cut off: it").splitlines()
    if len(lines) != expected:
        raise UsageError(f"trace {path} is cut off: {len(lines)} of {expected} records; write it again")
    for number, line in enumerate(lines, 1):
        try:
            yield Record.model_validate_json(line)
        except ValidationError as error:
            raise UsageError(f"trace {path}: steps.jsonl line {number}: {_first(error)}; write it again") from error


def _by_key(path: Path, records: Iterator[Record]) -> dict[Key, Record]:
    found: dict[Key, Record] = {}
    for record in records:
        if record.key in found:
            place = f"{record.step} in {record.phase}, occurrence {record.occurrence}"
            raise UsageError(f"trace {path}: steps.jsonl has two records of {place}; number them by occurrence")
        found[record.key] = record
    return found


def _read(path: Path, what: str) -> str:
    try:
        return read_text(path)
    except (FileNotFoundError, ValueError) as error:
        reason = "has no" if isinstance(error, FileNotFoundError) else f"cannot be read ({error}):"
        raise UsageError(f"trace {path.parent} {what} {reason} {path.name}; write the trace again") from error


def _json(text: str, path: Path) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise UsageError(f"trace {path.parent}: {path.name} cannot be read: it is not JSON ({error}){CURE}") from error


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
