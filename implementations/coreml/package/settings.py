"""How a checkpoint is converted: what a package's manifest says, a command's options ask for and a cache goes by."""

from __future__ import annotations

from dataclasses import dataclass

from parity.errors import UsageError

PRECISIONS = {"fp32": "float32", "fp16": "float16-ane"}
"""Number formats of a package, and the arithmetic that each computes in."""

WEIGHTS = {"": 0, "lut4": 4, "lut6": 6, "int4": 4, "int8": 8}
"""Other formats of matrices, and their bits: places in a palette, or integers with a scale for each row."""
PALETTE = "lut"
"""What the name of a format of palettes begins with."""
STATES, INPUTS = "states", "inputs"
CACHES = {"fp32": (INPUTS,), "fp16": (STATES, INPUTS)}
"""How keys and values go from call to call, for each precision, the usual one first: as states, which the package
keeps and which Core ML has in float16 alone; or as inputs and outputs, which whoever runs it hands over."""
SYSTEMS = {STATES: "iOS18", INPUTS: "iOS17"}
"""The oldest system that runs such a package: states, and packages of several functions, are of iOS 18."""
PALETTES = tuple(name for name in WEIGHTS if name.startswith(PALETTE))
Size = tuple[int, int]


@dataclass(frozen=True)
class Format:
    """What matrices are stored as.

    Attributes:
        weights: of `WEIGHTS`; empty for the number format of their package.
        group: rows of a matrix that have a palette in common; 0 for all.
    """

    weights: str = ""
    group: int = 0

    @property
    def palette_bits(self) -> int | None:
        """Bits of a place in a palette; None where there is none."""
        return WEIGHTS[self.weights] if self.weights.startswith(PALETTE) else None


PLAIN = Format()
"""As the number format of a package has them."""


@dataclass(frozen=True)
class Settings:
    """Shapes and numbers of a package.

    Attributes:
        precision: of `PRECISIONS`.
        context: positions that it holds; None for the model's, at most those of `implementations.ane.options`.
        batch: tokens of a prefill call.
        chunks: parts that the decoder is in.
        alpha: factor on the residual stream.
        decoder: what its matrices are stored as.
        head: the same of the head's.
        text: whether there is the language model.
        picture: height and width of the pictures that there is a tower for; None for none.
        sound: clips, and mel frames of each, that there is a tower for; None for none.
        caches: of `CACHES`.
        embeddings: what the text tables are stored as that the host looks up; palettes, or as they are.

    Raises:
        UsageError: for formats that the oldest system does not have.
    """

    precision: str = "fp32"
    context: int | None = None
    batch: int = 64
    chunks: int = 1
    alpha: float = 1.0
    decoder: Format = PLAIN
    head: Format = PLAIN
    text: bool = True
    picture: Size | None = None
    sound: Size | None = None
    caches: str = INPUTS
    embeddings: Format = PLAIN

    def __post_init__(self) -> None:
        if not self.stateful and any(form.group or form.weights == "int4" for form in (self.decoder, self.head)):
            raise UsageError(
                "palettes of groups of rows, and integers of 4 bits, are of iOS 18: caches are states there"
            )

    @property
    def fewer_bits(self) -> bool:
        """Whether any matrices are in fewer bits than `precision` has."""
        return any(form.weights for form in (self.decoder, self.head, self.embeddings))

    @property
    def dtype(self) -> str:
        """The arithmetic, as ``--dtype`` has it."""
        return PRECISIONS[self.precision]

    @property
    def stateful(self) -> bool:
        """Whether keys and values are states of the packages."""
        return self.caches == STATES

    @property
    def system(self) -> str:
        """The oldest system that runs the packages."""
        return SYSTEMS[self.caches]
