"""Number types of a file, and which of its tensors have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType

from parity.errors import UsageError

F32 = GGMLQuantizationType.F32


@dataclass(frozen=True)
class Kind:
    """A file's number type.

    Attributes:
        matrices: of its matrices.
        file_type: what the header calls it.
        kept: parts of names of matrices that stay in float32.
    """

    matrices: GGMLQuantizationType
    file_type: LlamaFileType
    kept: tuple[str, ...]

    def of(self, name: str, shape: tuple[int, ...]) -> GGMLQuantizationType:
        """The type of a tensor: norms and what has one axis stay in float32, and rows that do not fill blocks."""
        block, _ = GGML_QUANT_SIZES[self.matrices]
        exact = len(shape) < 2 or name.endswith("_norm.weight") or any(part in name for part in self.kept)
        return F32 if exact or shape[-1] % block else self.matrices


COEFFICIENTS = ("altup_correct_coef", "altup_predict_coef")
"""Matrices of 4 by 4 and 16 by 4 numbers, which llama.cpp's own converter never rounds."""
SMALL = ("altup", "laurel", "per_layer_model_proj")
"""Matrices that llama.cpp's own quantiser leaves as they are: they are small."""

KINDS: Mapping[str, Kind] = {
    "f32": Kind(F32, LlamaFileType.ALL_F32, ()),
    "bf16": Kind(GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16, COEFFICIENTS),
    "f16": Kind(GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16, COEFFICIENTS),
    "q8_0": Kind(GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0, SMALL),
    "q4_0": Kind(GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0, SMALL),
}
"""The types by their names."""


def kind_of(name: str) -> Kind:
    """The type of that name.

    Raises:
        UsageError: where there is none.
    """
    if name not in KINDS:
        raise UsageError(f"no number type {name!r}; there are {', '.join(KINDS)}")
    return KINDS[name]
