"""A checkpoint's files in GGUF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gguf import GGUFWriter, LlamaFileType

from implementations.gemma3n.config import Config
from implementations.gguf.convert.account import Converted, account, written
from implementations.gguf.convert.header import ARCHITECTURE, describe
from implementations.gguf.convert.kinds import Kind
from implementations.gguf.convert.limits import require_representable
from implementations.gguf.convert.quantise import OF_LIBRARY, quantiser
from implementations.gguf.convert.text import LEFT_OUT, Text
from implementations.gguf.convert.tower import TOWER_ARCHITECTURE, UNUSED, Tower
from implementations.gguf.convert.vocabulary import Vocabulary
from implementations.gguf.convert.writing import Told, write_file
from implementations.gguf.vision.graph import WIDTH

ACCOUNT, TOWER_FILE, VOCABULARY_FILE = "tensors.txt", "mmproj.gguf", "vocabulary.gguf"
"""Files of a folder beside those of the language model."""


@dataclass(frozen=True)
class Conversion:
    """What files are made of.

    Attributes:
        name: of the model, in headers.
        config: the checkpoint's.
        text: tensors of its language model.
        vocabulary: its tokenizer.
        tower: its vision tower, where it is asked for.
    """

    name: str
    config: Config
    text: Text
    vocabulary: Vocabulary
    tower: Tower | None = None

    @classmethod
    def of(cls, checkpoint: Path, name: str, *, tower: bool = False) -> Conversion:
        """Look at a checkpoint; no tensor is read.

        Raises:
            UsageError: for one that is not whole or not of Gemma 3n, or what llama.cpp cannot represent.
        """
        config = Config.from_directory(checkpoint)
        require_representable(checkpoint, config)
        text = Text.of(checkpoint, config)
        vocabulary = Vocabulary.of(checkpoint, config.text.vocab_size)
        return cls(name, config, text, vocabulary, Tower.of(checkpoint, config) if tower else None)

    def write(self, folder: Path, kinds: Mapping[str, Kind], told: Told) -> None:
        """Write all files into a folder.

        Args:
            folder: where to.
            kinds: number types by their names; the language model is written in each of them.
            told: told what is written next.
        """
        for name, kind in kinds.items():
            self.write_text(folder / f"model-{name}.gguf", kind, told)
        if self.tower is not None:
            self.write_tower(folder / TOWER_FILE, told)
            if self.config.text.hidden_size != WIDTH:
                self.write_vocabulary(folder / VOCABULARY_FILE)
        lines = [f"{line}\n" for name, kind in kinds.items() for line in written(name, self.account(kind))]
        lines += [f"{pair[0]!r} and {pair[1]!r} make a token that no merge makes\n" for pair in self.vocabulary.open]
        (folder / ACCOUNT).write_text("".join(lines), encoding="utf-8")

    def account(self, kind: Kind) -> list[Converted]:
        """What becomes of each tensor of the checkpoint, where the language model is of this type."""
        tower, reasons = ([], LEFT_OUT) if self.tower is None else ([*self.tower.tensors()], LEFT_OUT | UNUSED)
        return account([*self.text.tensors(kind), *tower], self.text.found, reasons)

    def write_text(self, file: Path, kind: Kind, told: Told) -> None:
        """Write the language model."""
        if kind.matrices in OF_LIBRARY:
            quantiser()  # which may not be installed; it is told before the work
        writer = GGUFWriter(file, ARCHITECTURE)
        describe(writer, self.config.text, kind.file_type, self.name)
        self.vocabulary.describe(writer)
        write_file(writer, file, self.text.tensors(kind), told)

    def write_tower(self, file: Path, told: Told) -> None:
        """Write the vision tower, which must be asked for."""
        assert self.tower is not None
        writer = GGUFWriter(file, TOWER_ARCHITECTURE)
        writer.add_name(self.name)
        self.tower.describe(writer)
        write_file(writer, file, self.tower.tensors(), told)

    def write_vocabulary(self, file: Path) -> None:
        """Write a language model without tensors, as wide as libmtmd holds every one to be that has this tower."""
        writer = GGUFWriter(file, ARCHITECTURE)
        describe(writer, replace(self.config.text, hidden_size=WIDTH), LlamaFileType.ALL_F32, self.name)
        self.vocabulary.describe(writer)
        write_file(writer, file, (), lambda what: None)
