"""Traces, goldens and reports whose fields are of the wrong type, out of range, cut, or of something else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.bad_input import inputs
from tests.bad_input.inputs import DELETED, edited, text
from tests.bad_input.table import Row, table

WRITE = "write"
"""To write the trace, or it, again is the cure of every one."""


def sketch(count: int) -> str:
    """A sketch of so many numbers."""
    return base64.b64encode(np.zeros(count).tobytes()).decode()


def record(**fields: Any) -> inputs.Spoil:
    """Changes the first record of a trace."""

    def spoil(file: Path) -> None:
        first, *others = file.read_text().splitlines()
        data = {name: value for name, value in {**json.loads(first), **fields}.items() if value is not DELETED}
        file.write_text("\n".join([json.dumps(data), *others]) + "\n")

    return spoil


def lines(change: Callable[[list[str]], list[str]]) -> inputs.Spoil:
    """Changes the lines of a file."""
    return lambda file: file.write_text("".join(f"{line}\n" for line in change(file.read_text().splitlines())))


RECORDS: dict[str, inputs.Spoil] = {
    "empty": text(""),
    "one-less": lines(lambda every: every[1:]),
    "one-more": lines(lambda every: [*every, every[0]]),
    "no-json": lines(lambda every: ["{", *every[1:]]),
    "deep": lines(lambda every: ["[" * 100_000 + "]" * 100_000, *every[1:]]),
    "digits": lines(lambda every: [every[0].replace('"occurrence": 0', '"occurrence": ' + "9" * 5000), *every[1:]]),
    "list": lines(lambda every: ["[]", *every[1:]]),
    "null": lines(lambda every: ["null", *every[1:]]),
    "no-step": record(step=DELETED),
    "step-number": record(step=7),
    "step-long": record(step="a" * 10**6),
    "phase-path": record(phase="../x"),
    "phase-empty": record(phase=""),
    "phase-absolute": record(phase="/x"),
    "phase-another": record(phase="nope"),
    "occurrence-text": record(occurrence="x"),
    "occurrence-negative": record(occurrence=-1),
    "occurrence-huge": record(occurrence=10**30),
    "axes-text": record(axes="batch"),
    "axes-numbers": record(axes=[1]),
    "shape-text": record(shape="x"),
    "shape-negative": record(shape=[-1, 4]),
    "shape-huge": record(shape=[10**30]),
    "shape-fraction": record(shape=[1.5]),
    "dtype-number": record(dtype=32),
    "rms-text": record(rms="x"),
    "count-negative": record(nan_count=-1),
    "count-huge": record(nan_count=10**30),
    "digest-number": record(digest=1),
    "sketch-no-base64": record(sketch="*"),
    "sketch-half": record(sketch="AAAA"),
    "sketch-short": record(sketch=sketch(60)),
    "sketch-long": record(sketch=sketch(62)),
    "sketch-one": record(sketch=sketch(1)),
    "sketch-number": record(sketch=7),
    "unknown-field": record(nope=1),
}
MANIFEST: dict[str, inputs.Spoil] = {
    **{f"no-{name}": edited(name, value=DELETED) for name in ("backend", "dtype", "mode", "scenario", "records")},
    **{f"{name}-list": edited(name, value=[]) for name in ("backend", "mode", "tensors", "records", "scenario")},
    **{f"{name}-null": edited(name, value=None) for name in ("backend", "versions", "weights", "contract", "command")},
    "version-old": edited("version", value=0),
    "version-text": edited("version", value="1"),
    "format": edited("format", value="other"),
    "mode": edited("mode", value="other"),
    "records-more": edited("records", value=9),
    "records-negative": edited("records", value=-1),
    "unknown-field": edited("nope", value=1),
}  # fmt: skip
SCENARIO: dict[str, inputs.Spoil] = {
    **{f"no-{name}": edited("scenario", name, value=DELETED) for name in ("name", "chunks", "padding", "cache")},
    **{f"{name}-number": edited("scenario", name, value=7) for name in ("chunks", "padding")},
    "chunks-empty": edited("scenario", "chunks", value=[]),
    "chunk-null": edited("scenario", "chunks", value=[None]),
    "tokens-text": edited("scenario", "chunks", 0, "tokens", value="x"),
    "tokens-ragged": edited("scenario", "chunks", 0, "tokens", value=[[1, 2], [3]]),
    "tokens-none": edited("scenario", "chunks", 0, "tokens", value=[[]]),
    "prompts": edited("scenario", "chunks", 0, "prompts", value=[[{"kind": "nope", "value": "x"}]]),
    "prompts-number": edited("scenario", "chunks", 0, "prompts", value=[7]),
    "padding-text": edited("scenario", "padding", value=["x"]),
}
CONTRACT: dict[str, inputs.Spoil] = {
    **{f"no-{name}": edited(name, value=DELETED) for name in ("model", "steps", "logits")},
    "steps-number": edited("steps", value=7),
    "steps-null": edited("steps", value=[None]),
    "step-twice": lambda file: edited("steps", value=json.loads(file.read_text())["steps"] * 2)(file),
    "step-no-name": edited("steps", 0, "name", value=DELETED),
    "step-unknown-field": edited("steps", 0, "nope", value=1),
    "axes-number": edited("steps", 0, "axes", value=7),
    "axes-of-the-whole": edited("axes", value=7),
}
TRACES = {
    "records": ("oracle/steps.jsonl", "diff oracle port.free", RECORDS),
    "manifest": ("oracle/manifest.json", "diff oracle port.free", MANIFEST),
    "scenario": ("oracle/manifest.json", "diff oracle port.free", SCENARIO),
    "contract": ("oracle/contract.json", "diff oracle port.free", CONTRACT),
}
STALE = {"manifest-version-old", "manifest-version-text"}


def of_traces() -> list[Row]:
    """Everything that a trace holds."""
    return [
        Row(f"{kind}-{how}", command, inputs.at(file, inputs.traces, spoil), 4 if f"{kind}-{how}" in STALE else 2,
            ("oracle", WRITE))
        for kind, (file, command, ways) in TRACES.items() for how, spoil in ways.items()
    ]  # fmt: skip


PLACES: tuple[tuple[str | int, ...], ...] = (
    ("contract", "model"), ("contract", "steps"), ("contract", "steps", 0, "axes"), ("oracle", "backend"),
    ("judgements",), ("judgements", 0), ("judgements", 0, "steps"), ("judgements", 0, "candidate"),
    ("judgements", 0, "steps", 0, "status"), ("judgements", 0, "steps", 0, "phase"),
)  # fmt: skip


def report(spoil: inputs.Spoil) -> inputs.Spoil:
    """A report that is spoilt."""
    return inputs.at("report/report.json", inputs.report, spoil)


REPORTS = [
    Row(f"{'.'.join(map(str, place))}-{json.dumps(value)}", "report report",
        report(edited(*place, value=value)), 2, ("report.json", "compare again"))
    for place in PLACES for value in (None, 7)
]  # fmt: skip
VERSIONS = [
    Row(f"version-{value!r}", "report report",
        report(edited("version", value=value)), 4, ("this is 2; compare again",))
    for value in (1, 3, "2", None)
]  # fmt: skip
GOLDEN_FIELDS: dict[str, inputs.Spoil] = {
    **{f"no-{name}": edited(name, value=DELETED) for name in ("name", "weights", "dtypes", "chunks", "tokens")},
    **{f"{name}-number": edited(name, value=7) for name in ("name", "versions", "dtypes", "chunks", "scenario")},
    "phase-path": edited("chunks", 0, "phase", value="../../x"),
    "records": edited("chunks", 0, "records", value=7),
    "records-negative": edited("chunks", 0, "records", value=-1),
    "shapes": edited("chunks", 0, "shapes", value=[]),
    "tokens": edited("tokens", value=99),
    "unknown-field": edited("nope", value=1),
}  # fmt: skip
TABLES: dict[str, inputs.Spoil] = {
    "empty": text(""),
    "cut": inputs.cut(0.5),
    "column": lines(lambda every: [line.rpartition("\t")[0] for line in every]),
    "word": lines(lambda every: [every[0], *(line.rpartition("\t")[0] + "\tx" for line in every[1:])]),
}
GOLDENS = [
    Row(f"{file}-{how}", f"golden check {inputs.SET}", inputs.at(f"goldens/one-shot/{file}", inputs.goldens, spoil), 2,
        ("golden goldens/one-shot cannot be read", "make it again"))
    for file, ways in (("manifest.json", GOLDEN_FIELDS), ("tokens.tsv", TABLES), ("floors.tsv", TABLES))
    for how, spoil in ways.items()
]  # fmt: skip


@table(of_traces())
def test_traces(row, refused):
    refused(row)


@table(REPORTS + VERSIONS)
def test_reports(row, refused):
    refused(row)


@table(GOLDENS)
def test_goldens(row, refused):
    refused(row)
