"""How a checkpoint is converted: what a package's manifest says, a command's options ask for and a cache goes by."""

from __future__ import annotations

from dataclasses import dataclass

PRECISIONS = {"fp32": "float32", "fp16": "float16-ane"}
"""Number formats of a package, and the arithmetic that each computes in."""

WEIGHTS = {"": 0, "lut4": 4, "lut6": 6, "int8": 8}
"""Other formats of matrices, and their bits: places in a palette, or integers with a scale for each row."""
Size = tuple[int, int]


@dataclass(frozen=True)
class Settings:
    """Shapes and numbers of a package.

    Attributes:
        precision: of `PRECISIONS`.
        context: positions that it holds; None for the model's, at most those of `implementations.ane.options`.
        batch: tokens of a prefill call.
        chunks: parts that the decoder is in.
        alpha: factor on the residual stream.
        weights: what matrices of decoder and head are stored as, of `WEIGHTS`; empty for `precision`.
        group: rows of a matrix that have a palette in common; 0 for all.
        text: whether there is the language model.
        picture: height and width of the pictures that there is a tower for; None for none.
        sound: clips, and mel frames of each, that there is a tower for; None for none.
    """

    precision: str = "fp32"
    context: int | None = None
    batch: int = 64
    chunks: int = 1
    alpha: float = 1.0
    weights: str = ""
    group: int = 0
    text: bool = True
    picture: Size | None = None
    sound: Size | None = None

    @property
    def dtype(self) -> str:
        """The arithmetic, as ``--dtype`` has it."""
        return PRECISIONS[self.precision]

    @property
    def stateful(self) -> bool:
        """Whether keys and values are states, which Core ML has in float16 alone."""
        return self.precision == "fp16"
