"""Which packages such a folder has: `meta.yaml` names them, or the words that their names are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from implementations.coreml.package.compiled import SUFFIXES
from implementations.coreml.package.meta import META, read_parameters
from parity.errors import UsageError

MOST_CHUNKS = 99
"""Their numbers have two digits."""
LONGEST, WIDEST = 1 << 17, 1 << 10
"""Positions and tokens of a call: a mask of both takes half a gigabyte, whatever a file says."""


@dataclass(frozen=True)
class Folder:
    """The packages of a folder.

    Attributes:
        path: where they are.
        context: positions of its keys and values.
        batch: tokens of a call of `prefill`.
        embeddings: makes states of ids.
        chunks: of the decoder, in order.
        head: makes logits of states.
    """

    path: Path
    context: int
    batch: int
    embeddings: Path
    chunks: tuple[Path, ...]
    head: Path

    @classmethod
    def read(cls, path: Path) -> Folder:
        """What a folder has.

        Raises:
            UsageError: where `meta.yaml` is missing, malformed or without a word that is needed, or a package is not
                there.
        """
        told = Told(path, read_parameters(path))
        chunks = told.number("num_chunks", MOST_CHUNKS)
        decoder = told.name("ffn", "FFN_PF", "lut_ffn")
        numbered = [f"{decoder}_chunk_{number:02d}of{chunks:02d}" for number in range(1, chunks + 1)]
        return cls(
            path,
            context=told.number("context_length", LONGEST),
            batch=told.number("batch_size", WIDEST),
            embeddings=told.package(told.name("embeddings", "embeddings", "lut_embeddings")),
            chunks=tuple(map(told.package, numbered)),
            head=told.package(told.name("lm_head", "lm_head", "lut_lmhead")),
        )

    @property
    def packages(self) -> tuple[Path, ...]:
        """All of them, in the order in which they run."""
        return (self.embeddings, *self.chunks, self.head)


@dataclass(frozen=True)
class Told:
    """The parameters of a `meta.yaml`, which are anybody's."""

    path: Path
    parameters: Mapping[str, Any]

    def number(self, name: str, most: int) -> int:
        """A whole number from 1 on."""
        value = self.parameters.get(name)
        if type(value) is not int or not 1 <= value <= most:
            raise UsageError(f"{self.path / META}: {name} is no number from 1 to {most:,}")
        return value

    def name(self, told: str, part: str, bits: str) -> str:
        """A package's name without its suffix: as it is told, or of the prefix, the part, and bits of a palette."""
        if told in self.parameters:
            return PurePath(self._word(told)).stem
        palette = str(self.parameters.get(bits, "none"))
        return f"{self._word('model_prefix')}_{part}" + ("" if palette == "none" else f"_lut{palette}")

    def package(self, name: str) -> Path:
        """The package of that name, as it was saved, or compiled."""
        for suffix in SUFFIXES:
            if (found := self.path / f"{name}{suffix}").is_dir():
                return found
        raise UsageError(f"{self.path}: no {name}{' or '.join(SUFFIXES)}, which {META} names")

    def _word(self, name: str) -> str:
        """A name that is inside of the folder."""
        value = self.parameters.get(name)
        if not isinstance(value, str) or not value or PurePath(value).name != value or len(value) > 200:
            raise UsageError(f"{self.path / META}: {name} is no name of a package in this folder")
        return value
