"""Command lines that cannot be: options out of range, names that nobody has, files that are none."""

from __future__ import annotations

import os
from pathlib import Path

from tests.bad_input import inputs
from tests.bad_input.table import Row, nothing, row, table

SPEAK = "generate --backend mlx --prompt Hi"
SAMPLING = {
    "max-tokens": {"0": "greater", "-1": "greater", "1.5": "integer", "x": "integer"},
    "temperature": {
        "-1": "at least 0",
        "nan": "at least 0",
        "inf": "at least 0",
        "1e999": "at least 0",
        "x": "valid number",
    },
    "top-k": {"-1": "at least 0", "0.5": "integer", "": "integer"},
    "top-p": {"0": "above 0", "2": "above 0", "nan": "above 0", "-inf": "above 0", "x": "valid number"},
    "seed": {"-1": "at least 0", "1.5": "integer"},
}
"""Options of `generate`, values that each cannot have, and what the line says."""
NAMES = {
    "dtype": {"": "names nothing", ",": "names nothing", " , ,": "names nothing"},
    "scenario": {"": "names nothing", "nope": "choose of", "one-shot,x": "choose of", "ONE-SHOT": "choose of"},
    "candidates": {
        "": "names nothing", " , ": "names nothing", "nope": "installed:", "../../x:B": "is no place in a module",
        "/etc/passwd:B": "is no place in a module", ":B": "is no place in a module", "a b:B": "is no place in a module",
        "x:": "is no place in a module", "mlx@x": "has no value", "mlx@=1": "has no value", "a" * 10**5: "installed:",
    },
    "reference": {"nope": "installed:", "mlx": "", "../x:B": "is no place in a module", "json:JSONDecoder": "not a"},
    "model": {
        "": "", "/nowhere": "no such directory", "~nobody/x": "give a checkpoint directory", "a/b/c": "no such",
        "/dev/null": "no such directory", "~no-such-user/x": "give a checkpoint directory", ".": "no config.json",
        "x" * 300: "", "x" * 5000: "",
    },
}  # fmt: skip
"""Options of `compare`, names that each cannot have, and what the line says."""
FREE = {("reference", "mlx"), ("model", "")}
"""What is none of these, or is said by another file of the table."""
COMMANDS = {
    "": "no command is given",
    "compar": "Did you mean 'compare'",
    "compare x": "unexpected extra argument",
    "compare --nope": "No such option",
    "compare --prompt": "requires an argument",
    "compare --prompt ''": "the prompt is empty",
    "compare --json=1": "does not take a value",
    "compare --report /dev/null/x": "give another folder",
    "compare --report /proc/x": "give another folder",
    "compare --keep /dev/null": "give another folder",
    "diff": "Missing argument",
    "diff a": "Missing argument",
    "diff /nowhere /nowhere": "is not a trace",
    "show": "Missing argument",
    "show /nowhere": "is not a trace",
    "show /dev/null": "is not a trace",
    "report": "Missing argument",
    "report /nowhere": "does not exist",
    "report .": "neither a report nor a trace",
    "report /dev/zero": "not a regular file",
    "report a b": "of these traces are an oracle's",
    "trace": "Missing option",
    "trace --backend mlx": "Missing option",
    "trace --backend mlx --output x --dtype a,b": "takes one name",
    "trace --backend mlx --output x --scenario all": "takes one name",
    "generate": "Missing option",
    "generate --backend mlx": "nothing to write about",
    "generate --backend nope --prompt Hi": "installed:",
    "steps --layer x": "integer",
    "steps --layer -1": "greater",
    "steps --sensitivity --dtype float64": "choose another",
    "steps --sensitivity --prompt ''": "the prompt is empty",
    "variants": "no command is given",
    "variants show": "Missing argument",
    "variants show nope": "unknown variant",
    "variants run nope": "unknown variant",
    "variants run mask-no-window --at nowhere": "in one place alone",
    "variants list --component nope": "nope",
    "variants score --only nope": "nope",
    "variants score --sample x": "write 1/10",
    "variants score --sample 0/0": "sample",
    "variants score --sample 9/3": "sample",
    "variants score --dtype float64": "choose another",
    "golden check --backend nope": "installed:",
    "golden check --only nope": "unknown golden",
    "golden check --only ,": "names nothing",
    "golden check --set nope": "installed:",
    "golden check --set ../x:y": "is no place in a module",
    "golden check --set json:dumps": "cannot be called",
    "golden check --set json:JSONEncoder": "makes no parity GoldenSet",
    "golden check --set nope:nope": "cannot be imported",
    "golden update --only nope": "unknown golden",
    "audit": "Missing argument",
    "audit nope": "installed:",
    "calibrate --judgements 0": "greater",
    "calibrate --workers 0": "greater",
    "calibrate --draw -1": "greater",
    "calibrate --markdown .": "name a file",
    "calibrate --markdown /dev/null/x": "give another folder",
    "calibrate --score /nowhere": "no scores",
    "survey": "Missing argument",
    "survey nope": "installed:",
    "survey mlx": "is not for any model",
    "survey mlx-lm,mlx": "PACKAGE",
    "survey mlx-lm --workers 0": "greater",
    "survey mlx-lm --limit 0": "greater",
    "survey mlx-lm --dtype int8": "int8",
    "survey mlx-lm --markdown .": "name a file",
    "survey mlx-lm --results /dev/null/x": "give another folder",
    "survey mlx-lm --results /etc/passwd": "holds no results of a survey",
}
"""Whole command lines, and what the line says."""
FILE = "a\U0001f600b"
FILES = {
    "missing": (lambda file: None, "no such file"),
    "folder": (Path.mkdir, "no such file"),
    "pipe": (inputs.pipe, "no such file"),
    "device": (inputs.device, "no such file"),
    "loop": (inputs.loop, "no such file"),
    "dangling": (lambda file: file.symlink_to("nowhere"), "no such file"),
    "socket": (lambda file: os.mknod(file, 0o140600), "no such file"),
    "forbidden": (inputs.forbidden, "not readable"),
}
"""What is no picture and no sound, without a look inside."""


def sampling() -> list[Row]:
    """Of `generate`."""
    return [
        row(f"{option}={value[:9]}", f"{SPEAK} --{option} '{value}'", said, option.replace("-", "_")[:3])
        for option, values in SAMPLING.items() for value, said in values.items()
    ]  # fmt: skip


def names() -> list[Row]:
    """Of `compare`."""
    return [
        row(f"{option}={value[:30]}-{len(value)}", f"compare --{option} '{value}'", said)
        for option, values in NAMES.items() for value, said in values.items() if (option, value) not in FREE
    ]  # fmt: skip


def files() -> list[Row]:
    """Of both kinds, in both commands."""
    return [
        Row(f"{kind}-{how}-{command[:7]}", f"{command} --{kind} {FILE}", inputs.at(FILE, nothing, make), 2,
            (kind, said), unprivileged=how == "forbidden")
        for kind in ("image", "audio") for how, (make, said) in FILES.items()
        for command in ("compare", "generate --backend mlx")
    ]  # fmt: skip


@table(sampling())
def test_sampling(row, refused):
    refused(row)


@table(names())
def test_names(row, refused):
    refused(row)


@table([row(line or "nothing", line, said) for line, said in COMMANDS.items()])
def test_command_lines(row, refused):
    refused(row)


@table(files())
def test_files(row, refused):
    refused(row)
