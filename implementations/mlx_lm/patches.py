"""What is wrong in mlx-lm 0.32.2: each fault proven by an edit, in memory, with which the divergence goes away.

`mlx-lm@patch=NAME` runs the package with a fault mended, `mlx-lm@patch=all` with all. docs/third-party.md has figures.
"""

from __future__ import annotations

from implementations.mlx_packages.common_patches import (
    coefficients_clipped,
    kv_without_cache,
    magnitude_floor,
    moments,
)
from implementations.mlx_packages.patch import Patch
from parity.fault import Inputs, Kind
from parity.site import Edit

MODELING = "mlx_lm.models.gemma3n"
TEXT = f"{MODELING}:LanguageModel.__call__"

KV_WITHOUT_CACHE = kv_without_cache(
    TEXT,
    "self.make_cache()",
    "`model(tokens)` without a cache, on any checkpoint: training (`tuner/trainer.py`) and `perplexity.py`.",
)
MAGNITUDE_FLOOR = magnitude_floor(
    TEXT, "    # One position", "\n    h = mx.mean", proof="test_all_zero_embedding_row_becomes_nan"
)
COEFFICIENTS_CLIPPED = coefficients_clipped(MODELING)
MOMENTS = moments(MODELING)

MEDIA_IDS_AS_TEXT = Patch(
    name="media-ids-as-text",
    wrong="Ids of pictures and sounds are embedded by the text's table, because their embedders are dropped; the "
    "reference embeds them by the embedder of their kind. The package is for text.",
    kind=Kind.DELIBERATE,
    reached="Ids beyond the text's, in a prompt or chosen by the model, as the embedded checkpoint does behind a "
    "prompt without a chat template.",
    edits=(
        Edit(
            f"{MODELING}:Model.sanitize",
            'weights["model"].pop(k, None)',
            "self.model.language_model.__dict__.setdefault('dropped', {})[k] = weights['model'].pop(k, None)",
        ),
        Edit(
            TEXT,
            "per_layer_inputs = self.get_per_layer_inputs(inputs)",
            "__import__('implementations.mlx_lm.hard', fromlist=['fill']).fill(h, inputs, self)\n"
            "    per_layer_inputs = self.get_per_layer_inputs(inputs)",
        ),
    ),
    steps=("text.inputs_embeds",),
    inputs=Inputs("outside"),
)

PATCHES = (KV_WITHOUT_CACHE, MAGNITUDE_FLOOR, COEFFICIENTS_CLIPPED, MEDIA_IDS_AS_TEXT, MOMENTS)
