"""Number types of a file, and which of its tensors have them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType

from parity.errors import UsageError

F32 = GGMLQuantizationType.F32
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """A file's number type.

    Attributes:
        matrices: of its matrices.
        file_type: what the header calls it.
        kept: parts of names of matrices that stay in float32.
        better: of the tables, and of some layers' `IMPORTANT` matrices.
    """

    matrices: GGMLQuantizationType
    file_type: LlamaFileType
    kept: tuple[str, ...]
    better: GGMLQuantizationType | None = None

    def of(self, name: str, shape: Shape, layers: int) -> GGMLQuantizationType:
        """The type of a tensor: norms and what has one axis stay in float32, and rows that do not fill blocks.

        Args:
            name: in the file.
            shape: the last axis is that of a row, which is quantised in blocks.
            layers: of the model.
        """
        if len(shape) < 2 or name.endswith("_norm.weight") or any(part in name for part in self.kept):
            return F32
        chosen = self.better if self.better and _matters(name, layers) else self.matrices
        if shape[-1] % block_size(chosen):
            chosen = INSTEAD.get(chosen, F32)
        return F32 if shape[-1] % block_size(chosen) else chosen


def block_size(kind: GGMLQuantizationType) -> int:
    """Numbers of a row that are quantised together."""
    return GGML_QUANT_SIZES[kind][0]


COEFFICIENTS = ("altup_correct_coef", "altup_predict_coef")
"""Matrices of 4 by 4 and 16 by 4 numbers, which llama.cpp's own converter never rounds."""
SMALL = ("altup", "laurel", "per_layer_model_proj")
"""Matrices that llama.cpp's own quantiser leaves as they are: they are small."""
TABLES = ("token_embd.weight", "per_layer_token_embd.weight", "output.weight")
IMPORTANT = re.compile(r"blk\.(\d+)\.(attn_v|ffn_down)\.weight")
INSTEAD = {
    GGMLQuantizationType.Q4_K: GGMLQuantizationType.Q5_0,
    GGMLQuantizationType.Q6_K: GGMLQuantizationType.Q8_0,
}
"""What has blocks of 32 for what has blocks of 256."""

KINDS: Mapping[str, Kind] = {
    "f32": Kind(F32, LlamaFileType.ALL_F32, ()),
    "bf16": Kind(GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16, COEFFICIENTS),
    "f16": Kind(GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16, COEFFICIENTS),
    "q8_0": Kind(GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0, SMALL),
    "q4_0": Kind(GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0, SMALL),
    "q4_k_m": Kind(GGMLQuantizationType.Q4_K, LlamaFileType.MOSTLY_Q4_K_M, SMALL, better=GGMLQuantizationType.Q6_K),
}
"""The types by their names."""


def _matters(name: str, layers: int) -> bool:
    """Whether llama.cpp's mixtures have more bits for a tensor.

    They have for the tables, and for values and down projections of the first and the last eighth of the layers and of
    each third one between.
    """
    if (found := IMPORTANT.fullmatch(name)) is None:
        return name in TABLES
    layer, eighth = int(found[1]), layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def kind_of(name: str) -> Kind:
    """The type of that name.

    Raises:
        UsageError: where there is none.
    """
    if name not in KINDS:
        raise UsageError(f"no number type {name!r}; there are {', '.join(KINDS)}")
    return KINDS[name]
