"""The report of a comparison, for programs: ``report.json``, and what ``--json`` prints.

Schema ``parity-comparison``, version 2, described in docs/report-schema.md. It holds everything of the `Comparison`;
fields have the names of the classes in `parity.judging`. Besides, for readers without our code: ``exit_code`` and
``verdict`` of the whole and of each judgement, ``counts`` of its steps by status, and its ``first_divergence`` (phase,
step, occurrence; or null). A file also holds what the traces said of single steps (`parity.report.detail.Report`).

JSON has no infinity and no NaN, so they are the strings ``"Infinity"``, ``"-Infinity"`` and ``"NaN"``: a ratio may be
infinite (an integer step that differs has no floor), and that must not read like null, which means: not measured.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from parity.errors import StaleTrace, UsageError
from parity.json_file import read_json
from parity.judging.judgement import Comparison, Judgement
from parity.report.detail import Report
from parity.report.sentences import WORD
from parity.traces.trace import Key

SCHEMA = "parity-comparison"
VERSION = 2
FILE = "report.json"

T = TypeVar("T")


def to_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain data that any JSON reader takes."""
    head = {"schema": SCHEMA, "version": VERSION, **_verdict(comparison)}
    judgements = [_judgement(judgement) for judgement in comparison.judgements]
    data: dict[str, Any] = {**head, **_plain(comparison), "judgements": judgements}
    return data


def dumps(comparison: Comparison) -> str:
    """The comparison as JSON text."""
    return json.dumps(to_json(comparison), allow_nan=False) + "\n"


def dumps_report(report: Report) -> str:
    """The comparison as JSON text, with what was taken from the traces, as far as there is any."""
    taken = {field.name: getattr(report, field.name) for field in fields(report) if field.name != "comparison"}
    extra = {name: _plain(value) for name, value in taken.items() if value}
    return json.dumps({**to_json(report.comparison), **extra}, allow_nan=False) + "\n"


def read_comparison(path: Path) -> Comparison:
    """Read a report that `write_report` or ``--json`` wrote; a directory means the report in it.

    Raises:
        StaleTrace: when it has another version.
        UsageError: when it cannot be read or is no report.
    """
    return _validated(Comparison, *_data(path))


def read_report(path: Path) -> Report:
    """Read a report with what was taken from the traces, as far as it holds any of it.

    Raises:
        StaleTrace: when it has another version.
        UsageError: when it cannot be read or is no report.
    """
    file, data = _data(path)
    extra = {field.name: data[field.name] for field in fields(Report) if field.name in data}
    return _validated(Report, file, {"comparison": data, **extra})


def _data(path: Path) -> tuple[Path, dict[str, Any]]:
    """The file that is meant, and what is in it."""
    file = path / FILE if path.is_dir() else path
    try:
        data = read_json(file)
    except FileNotFoundError as error:
        raise UsageError(f"report {file} cannot be read: it does not exist; write it with compare --report") from error
    except ValueError as error:
        raise UsageError(f"report {file} cannot be read ({error}); compare again") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise UsageError(f"{file} is no report of parity: its schema is not {SCHEMA}; compare again")
    if data.get("version") != VERSION:
        raise StaleTrace(f"report {file}: version {data.get('version')}, this is {VERSION}; compare again")
    return file, data


def _validated(kind: type[T], file: Path, data: dict[str, Any]) -> T:
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise UsageError(f"report {file}: {where}: {problem['msg']}; compare again") from error


def write_whole(target: Path, text: str) -> Path:
    """Write a file, or leave the one that was there."""
    descriptor, name = tempfile.mkstemp(prefix=".report-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return target


def prepare(folder: Path) -> None:
    """Make `folder` and try that a file can be written there, before the long work starts.

    Raises:
        UsageError: when it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to {folder} ({error.strerror or error}); give another folder") from error


def _umask() -> int:
    """What a new file is not allowed; ``mkstemp`` would leave the report readable to its owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _judgement(judgement: Judgement) -> dict[str, Any]:
    first = judgement.first_divergence
    at = first and {"phase": first.phase, "step": first.step, "occurrence": first.occurrence}
    counts = {str(status): number for status, number in sorted(judgement.counts.items())}
    data: dict[str, Any] = {**_verdict(judgement), "counts": counts, "first_divergence": at, **_plain(judgement)}
    return data


def _verdict(judged: Comparison | Judgement) -> dict[str, Any]:
    return {"exit_code": int(judged.exit_code), "verdict": WORD[judged.exit_code]}


def _plain(value: Any) -> Any:
    """Dataclasses and models as mappings, tuples as lists, and floats that JSON lacks as strings."""
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="python"))
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Key):
        return value._asdict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _spelled(value) if isinstance(value, float) else value


def _spelled(number: float) -> float | str:
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
