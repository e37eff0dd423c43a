"""How a checkpoint is converted: what a package's manifest says, a command's options ask for and a cache goes by."""

from __future__ import annotations

from dataclasses import dataclass

PRECISIONS = {"fp32": "float32", "fp16": "float16-ane"}
"""Number formats of a package, and the arithmetic that each computes in."""


@dataclass(frozen=True)
class Settings:
    """Shapes and numbers of a package.

    Attributes:
        precision: of `PRECISIONS`.
        context: positions that it holds; None for the model's, at most those of `implementations.ane.options`.
        batch: tokens of a prefill call.
        chunks: parts that the decoder is in.
        alpha: factor on the residual stream.
    """

    precision: str = "fp32"
    context: int | None = None
    batch: int = 64
    chunks: int = 1
    alpha: float = 1.0

    @property
    def dtype(self) -> str:
        """The arithmetic, as ``--dtype`` has it."""
        return PRECISIONS[self.precision]

    @property
    def stateful(self) -> bool:
        """Whether keys and values are states, which Core ML has in float16 alone."""
        return self.precision == "fp16"
