"""Options of the backend, as users write them: ``coreml@package=DIR`` or ``coreml@chunks=3:context=256``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from implementations.ane.options import Options as AneOptions
from implementations.coreml.package.folder import Package
from implementations.coreml.package.settings import (
    CACHES,
    PALETTES,
    PLAIN,
    PRECISIONS,
    SYSTEMS,
    WEIGHTS,
    Format,
    Settings,
)
from implementations.gemma3n.option_texts import OptionTexts
from parity.errors import UsageError

MEANINGS: dict[str, str] = {
    "package": "folder of packages to run in place of the checkpoint's own, as `parity coreml convert` writes it",
    "chunks": "parts that the decoder is converted in; 1 by default",
    "context": "positions that the packages hold; by default the model's, at most 1024",
    "batch": "tokens of a prefill call; 64 by default",
    "alpha": "factor on the residual stream, which keeps float16 in range; 1 by default, powers of two cost no error",
    "weights": "matrices of decoder and head in fewer bits, of float16-ane alone: lut4, lut6 (palettes), int4 or int8",
    "head": "the same of the head alone, where it differs; none for float16",
    "embeddings": "tables that the host looks up in fewer bits, of float16-ane alone: lut4 or lut6",
    "group": "rows of a matrix that have a palette in common; by default all",
    "runtime": "what runs the packages: interpreter, operation by operation, by default; or coreml, on macOS",
    "caches": "keys and values as states (iOS 18), which float16-ane alone has, or as inputs and outputs (iOS 17)",
    "limit": "magnitude beyond which float16-ane gives infinity; 32752 by default, inf for float16's own range",
}
NONE = "none"
"""No fewer bits, where others have."""
RUNTIMES = ("interpreter", "coreml")
SHAPING = ("context", "batch", "alpha", "limit")
"""What the ANE form of the model has too."""


@dataclass(frozen=True)
class Options:
    """How packages are converted and run; see `MEANINGS`.

    Attributes:
        package: None for the checkpoint's own.
        chunks: of the decoder.
        decoder: what its matrices are stored as.
        head: the same of the head's.
        embeddings: the same of the tables that the host looks up.
        runtime: of `RUNTIMES`.
        caches: of `CACHES`; empty for the usual ones.
        compiled: the rest, as the ANE form of the model has it.
    """

    package: Path | None = None
    chunks: int = 1
    decoder: Format = PLAIN
    head: Format = PLAIN
    embeddings: Format = PLAIN
    runtime: str = RUNTIMES[0]
    caches: str = ""
    compiled: AneOptions = field(default_factory=AneOptions)

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> Options:
        """Read options that were given by name.

        Raises:
            UsageError: for an unknown name, a value that cannot be, or one that a package has settled.
        """
        given = OptionTexts("coreml", MEANINGS, texts)
        package = Path(texts["package"]).expanduser() if "package" in texts else None
        if package is not None and not package.is_dir():
            raise UsageError(f"backend coreml: package={package} is no folder; `parity coreml convert` writes one")
        if package is not None and (settled := sorted(set(texts) - {"package", "limit", "runtime"})):
            raise UsageError(f"backend coreml: {settled[0]} is settled by the package; convert another one")
        group, weights = given.count("group", 0, 2**20), given.one_of("weights", "", WEIGHTS)
        head = given.one_of("head", weights or NONE, {NONE: 0, **WEIGHTS}).replace(NONE, "")
        shaping = {name: text for name, text in texts.items() if name in SHAPING}
        return cls(
            package,
            given.count("chunks", cls.chunks, 1000),
            Format(weights, group),
            Format(head, group),
            Format(given.one_of("embeddings", "", ("", *PALETTES)), group),
            given.one_of("runtime", cls.runtime, dict.fromkeys(RUNTIMES)),
            given.one_of("caches", cls.caches, {cls.caches: "", **SYSTEMS}),
            AneOptions.parse(shaping),
        )

    @property
    def fewer_bits(self) -> bool:
        """Whether matrices are in fewer bits than float16.

        Raises:
            UsageError: for a package that cannot be read.
        """
        if self.package is not None:
            return Package.read(self.package).settings.fewer_bits
        return any(form.weights for form in (self.decoder, self.head, self.embeddings))

    @property
    def limit(self) -> float:
        """Beyond it float16 ends."""
        return self.compiled.limit

    def converted(self, dtype: str) -> Settings:
        """How a checkpoint is converted for an arithmetic.

        Raises:
            UsageError: for weights or caches that the arithmetic does not have.
        """
        precision = next(name for name, arithmetic in PRECISIONS.items() if arithmetic == dtype)
        weights = self.decoder.weights or self.head.weights or self.embeddings.weights
        if weights and precision != "fp16":
            raise UsageError(f"backend coreml: weights={weights} compute in float16-ane; give --dtype float16-ane")
        if (caches := self.caches or CACHES[precision][0]) not in CACHES[precision]:
            raise UsageError(f"backend coreml: caches={caches} are of float16-ane; give --dtype float16-ane")
        one, formats = self.compiled, (self.decoder, self.head)
        shapes = (one.context, one.batch, self.chunks)
        return Settings(precision, *shapes, one.alpha, *formats, caches=caches, embeddings=self.embeddings)
