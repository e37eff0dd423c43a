"""Every JSON file that is read, spoilt in every way: the same reader refuses all, and each file has its own cure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from implementations.gemma3n.preprocessing.preprocessor import Preprocessor
from implementations.gemma3n.preprocessing.tokenizer import stop_ids
from tests.bad_input import inputs
from tests.bad_input.inputs import Spoil, data, instead, text
from tests.bad_input.table import Row, table

DEEP = 100_000
SPOILT: dict[str, tuple[Spoil, str]] = {
    "empty": (text(""), "Expecting value"),
    "blank": (text(" \n"), "Expecting value"),
    "cut": (inputs.cut(0.5), ""),
    "word": (text("hello"), "Expecting value"),
    "deep-list": (text("[" * DEEP + "]" * DEEP), "nested more than 64 levels deep"),
    "deep-object": (text('{"a":' * DEEP + "1" + "}" * DEEP), "nested more than 64 levels deep"),
    "rather-deep": (text("[" * 200 + "]" * 200), "nested more than 64 levels deep"),
    "digits": (text('{"version": ' + "9" * 5000 + "}"), "an integer of 5,000 digits"),
    "1e999": (text('{"version": 1e999}'), "1e999 is beyond float64"),
    "nan": (text('{"version": NaN}'), "NaN is no number"),
    "infinity": (text('{"version": -Infinity}'), "-Infinity is no number"),
    "twice": (text('{"version": 1, "version": 2}'), "names 'version' twice"),
    "not-utf-8": (data(b'{"\xff": 1}'), "not UTF-8 at byte 2"),
    "folder": (instead(Path.mkdir), "a folder"),
    "pipe": (instead(inputs.pipe), "not a regular file"),
    "device": (instead(inputs.device), "not a regular file"),
    "loop": (instead(inputs.loop), "Too many levels of symbolic links"),
    "forbidden": (instead(inputs.forbidden), "Permission denied"),
}
"""What the file becomes, and what the line says of it."""


@dataclass(frozen=True)
class File:
    """A file that is read: what is around it, how it is read, and what the line says to do."""

    path: str
    around: Spoil
    command: object
    cure: str
    code: int = 2
    without: tuple[str, ...] = ()


def scores(folder: Path) -> None:
    """Where scores of variants should be."""
    text("{}")(folder / "scores.json")


def index(folder: Path) -> None:
    """A checkpoint with an index of shards."""
    text("{}")(inputs.checkpoint(folder) / "model.safetensors.index.json")


def settings(name: str) -> File:
    """A file of the preprocessing."""
    return File(f"model/{name}", inputs.checkpoint, lambda: Preprocessor(Path("model")).settings, FETCH)


def stops() -> object:
    """Reads which ids end a text."""
    return stop_ids(Path("model"))


FETCH, WRITE = "fetch it again", "write the trace again"
GOLDEN = f"golden check {inputs.SET}"
FILES = {
    "config": File("model/config.json", inputs.checkpoint, "steps --model model", FETCH),
    "index": File("model/model.safetensors.index.json", index, "compare --model model", FETCH),
    "processor": settings("processor_config.json"),
    "preprocessor": settings("preprocessor_config.json"),
    "tokenizer-config": settings("tokenizer_config.json"),
    "generation": File("model/generation_config.json", inputs.checkpoint, stops, FETCH),
    "manifest": File("oracle/manifest.json", inputs.traces, "show oracle", WRITE),
    "contract": File("oracle/contract.json", inputs.traces, "diff oracle port.free", WRITE),
    "report": File("report/report.json", inputs.report, "report report", "compare again"),
    # A manifest that is a loop of links is none: the golden is missing.
    "golden": File("goldens/one-shot/manifest.json", inputs.goldens, GOLDEN, "make it again", without=("loop",)),
    "set": File("goldens/contract.json", inputs.goldens, GOLDEN, "make the goldens again"),
    # Whether an option's file may be read is looked at with the command line.
    "scores": File("scores.json", scores, "calibrate --score scores.json", "score --json", without=("forbidden",)),
}


def spoilt() -> list[Row]:
    """Every file in every way."""
    return [
        Row(f"{kind}-{how}", file.command, inputs.at(file.path, file.around, spoil), file.code,
            (said, file.cure), unprivileged=how == "forbidden")
        for kind, file in FILES.items() for how, (spoil, said) in SPOILT.items() if how not in file.without
    ]  # fmt: skip


@table(spoilt())
def test_spoilt_json(row, refused):
    refused(row)


@pytest.mark.parametrize("kind", ["processor", "preprocessor", "generation", "manifest", "contract", "report"])
def test_what_was_not_spoilt_is_read(kind, refused):
    """The rows above are refused for what was spoilt, and for nothing else."""
    file = FILES[kind]
    file.around(refused.here)
    assert file.cure not in refused.run(file.command)[2]
