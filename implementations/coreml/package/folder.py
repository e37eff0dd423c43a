"""The folder that a conversion writes.

config.json, tokenizer.json, chat_template.jinja ...    the checkpoint's, as it has them
manifest.json                  settings, and the packages in the order in which they run
meta.yaml                      the settings in the words of the ANEMLL converter
steps.json                     which value of which package's program is which step
tensors.txt                    what became of each of the checkpoint's tensors
embeddings.safetensors         tables that the host looks up
decoder_1of3.mlpackage ...     layers of the decoder, each with the functions prefill and infer
head.mlpackage                 states to logits
vision.mlpackage, audio.mlpackage    soft tokens of a picture, and of clips of one length

A package of iOS 17 has one function. There decoder_1of3_prefill.mlpackage and decoder_1of3_infer.mlpackage stand for
decoder_1of3.mlpackage, and so for the head.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from implementations.coreml.package.meta import require_meta, write_meta
from implementations.coreml.package.settings import CACHES, PRECISIONS, WEIGHTS, Format, Settings, Size
from parity.errors import UsageError
from parity.json_file import read_json

MANIFEST, SIDECAR, TABLES = "manifest.json", "steps.json", "embeddings.safetensors"
ACCOUNT = "tensors.txt"
VERSION = 3
"""Of manifest and sidecar."""
PREFILL, INFER = "prefill", "infer"
"""Functions: of many tokens, and of one."""
MAIN = "main"
"""The only function of a package that has one."""
HEAD, VISION, AUDIO = "head", "vision", "audio"

Steps = Mapping[str, Mapping[str, Sequence[tuple[str, str]]]]
"""For each package and function: steps with the values that they are, in the program's order."""


@dataclass(frozen=True)
class Package:
    """What a manifest says.

    Attributes:
        folder: where it is.
        settings: how it was converted.
        decoder: names of its packages, in the order in which they run.
        others: names of the other packages.
        steps: of each package.
    """

    folder: Path
    settings: Settings
    decoder: tuple[str, ...]
    others: tuple[str, ...]
    steps: Steps

    def file(self, name: str, function: str = MAIN) -> Path:
        """The Core ML package of a function, which is a folder itself: that of all, or before iOS 18 its own."""
        apart = "" if self.settings.stateful or function == MAIN else f"_{function}"
        return self.folder / f"{name}{apart}.mlpackage"

    def files(self, name: str) -> dict[str, Path]:
        """The same of each function of a part."""
        return {function: self.file(name, function) for function in self.steps.get(name) or (MAIN,)}

    def write(self) -> None:
        """Write manifest, sidecar and `meta.yaml`."""
        told = {
            "format": VERSION,
            "settings": asdict(self.settings),
            "decoder": self.decoder,
            "others": self.others,
        }
        _write(self.folder / MANIFEST, told)
        _write(self.folder / SIDECAR, {"format": VERSION, "steps": self.steps})
        write_meta(self.folder, self.settings, self.decoder)

    @classmethod
    def read(cls, folder: Path) -> Package:
        """What `write` wrote.

        Raises:
            UsageError: for a file that is missing, malformed or says something else than the manifest, or a package
                that is not there.
        """
        told, steps = (_read(folder / name) for name in (MANIFEST, SIDECAR))
        try:
            found = cls(folder, _settings(told), _names(told, "decoder"), _names(told, "others"), _steps(steps))
        except ValueError as error:
            raise UsageError(f"package {folder}: {error}; convert it again") from error
        for name in (*found.decoder, *found.others):
            if lost := [file.name for file in found.files(name).values() if not file.is_dir()]:
                raise UsageError(f"package {folder}: no {lost[0]}, which {MANIFEST} names; convert it again")
            if name not in found.steps:
                raise UsageError(f"package {folder}: {SIDECAR} says nothing of {name}; convert it again")
        require_meta(folder, found.settings, found.decoder)
        return found


def size_of(file: Path) -> int:
    """Bytes of a file, or of all that is in a folder."""
    return sum(one.stat().st_size for one in (file, *file.rglob("*")) if one.is_file())


def _write(file: Path, told: Any) -> None:
    file.write_text(f"{json.dumps(told, indent=1)}\n", encoding="utf-8")


def _read(file: Path) -> Any:
    try:
        told = read_json(file)
        if not isinstance(told, dict) or told.get("format") != VERSION:
            raise ValueError(f"it is no JSON object of format {VERSION}")
    except FileNotFoundError as error:
        raise UsageError(
            f"package {file.parent}: no {file.name}; is it one that `parity coreml convert` wrote?"
        ) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"package file {file} cannot be read ({error}); convert it again") from error
    return told


def _settings(told: Mapping[str, Any]) -> Settings:
    found = told.get("settings")
    names = {field.name for field in fields(Settings)}
    if not isinstance(found, dict) or found.keys() != names:
        raise ValueError(f"{MANIFEST} says no settings, which are {', '.join(sorted(names))}")
    for name in ("precision", "caches"):
        if not isinstance(word := found[name], str):
            raise ValueError(f"{MANIFEST}: {name} is {word!r}, no word")
    sizes = {name: _size(name, found[name]) for name in ("picture", "sound")}
    formats = {name: _format(name, found[name]) for name in ("decoder", "head", "embeddings")}
    settings = Settings(**{**found, **sizes, **formats})
    for name in ("context", "batch", "chunks"):
        value: object = found[name]
        if type(value) is not int or value < 1:
            raise ValueError(f"{MANIFEST}: {name} is {value!r}, no number of 1 or more")
    if settings.precision not in PRECISIONS:
        raise ValueError(f"{MANIFEST}: precision {settings.precision!r} is none of {', '.join(PRECISIONS)}")
    if settings.embeddings.weights and settings.embeddings.palette_bits is None:
        raise ValueError(f"{MANIFEST}: embeddings are in {settings.embeddings.weights}, which are no palettes")
    if settings.caches not in CACHES[settings.precision]:
        raise ValueError(f"{MANIFEST}: caches {settings.caches!r} are none that {settings.precision} has")
    alpha: object = found["alpha"]
    if not isinstance(alpha, int | float) or not 0 < alpha < float("inf"):
        raise ValueError(f"{MANIFEST}: alpha is {alpha!r}, no positive number")
    if type(settings.text) is not bool:
        raise ValueError(f"{MANIFEST}: text is {settings.text!r}, neither true nor false")
    return settings


def _format(name: str, value: Any) -> Format:
    if not isinstance(value, dict) or value.keys() != {field.name for field in fields(Format)}:
        raise ValueError(f"{MANIFEST}: {name} is {value!r}, no weights in groups")
    form = Format(**value)
    if form.weights not in [*WEIGHTS] or type(form.group) is not int or form.group < 0:
        raise ValueError(f"{MANIFEST}: {name} has weights {form.weights!r} in groups of {form.group!r}")
    return form


def _size(name: str, value: Any) -> Size | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(type(side) is int and side > 0 for side in value):
        raise ValueError(f"{MANIFEST}: {name} is {value!r}, no pair of whole numbers")
    return value[0], value[1]


def _names(told: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = told.get(key)
    if not isinstance(found, list) or not all(isinstance(name, str) and name.isidentifier() for name in found):
        raise ValueError(f"{MANIFEST}: {key} is no list of names of packages")
    if len(set(found)) < len(found):
        raise ValueError(f"{MANIFEST}: {key} names a package twice")
    return tuple(found)


def _steps(told: Mapping[str, Any]) -> Steps:
    found = told.get("steps")
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise ValueError(f"{SIDECAR}: steps is no object of packages and their functions")
    return {
        name: {function: [*map(_pair, _list(entries))] for function, entries in functions.items()}
        for name, functions in found.items()
    }


def _list(entries: Any) -> list[Any]:
    if not isinstance(entries, list):
        raise ValueError(f"{SIDECAR}: {entries!r} is no list of steps")
    return entries


def _pair(entry: Any) -> tuple[str, str]:
    if not isinstance(entry, list) or len(entry) != 2 or not all(isinstance(each, str) for each in entry):
        raise ValueError(f"{SIDECAR}: {entry!r} is no pair of a step and a value")
    return entry[0], entry[1]
