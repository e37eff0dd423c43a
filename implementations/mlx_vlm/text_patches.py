"""What is wrong in mlx-vlm 0.7.10's language model and in how its prompts are made."""

from __future__ import annotations

from dataclasses import replace

from implementations.mlx_packages.common_patches import (
    coefficients_clipped,
    kv_without_cache,
    magnitude_floor,
    moments,
)
from implementations.mlx_packages.patch import Patch
from implementations.mlx_vlm.media import BOTH
from parity.fault import Inputs, Kind
from parity.site import Edit

MODELING, MODEL = "mlx_vlm.models.gemma3n.language", "mlx_vlm.models.gemma3n.gemma3n:Model"
TEXT, EMBED = f"{MODELING}:Gemma3Model.__call__", f"{MODEL}.get_input_embeddings"

EMBEDDING_SCALE = Patch(
    name="embedding-scale",
    wrong="A prompt's token embeddings are not multiplied by sqrt(hidden_size); those of decoded tokens are.",
    reached="Every prompt, on any checkpoint; of a published width the factor is sqrt(2048) = 45.",
    edits=(
        Edit(
            EMBED,
            "inputs_embeds = self.language_model.model.embed_tokens(input_ids)",
            "inputs_embeds = self.language_model.model.embed_tokens(input_ids)"
            " * self.language_model.model.hidden_size**0.5",
        ),
    ),
    steps=("text.embed_tokens",),
    inputs=Inputs("cached"),
)

_STATE = "keys, values = state[0], state[1]\n        offset = cache.offset"

SHARED_ROTATION = Patch(
    name="shared-rotation",
    wrong="KV-shared layers rotate their queries by their donor's offset, which the donor has moved on by the chunk: "
    "queries are as many positions too far on as the chunk has tokens.",
    reached="Every run with a cache, on any checkpoint.",
    edits=(Edit(f"{MODELING}:Gemma3nAttention.__call__", _STATE, f"{_STATE} - L"),),
    steps=("text.layers.*.attn.q_rope",),
    inputs=Inputs("cached"),
)

KV_WITHOUT_CACHE = kv_without_cache(
    TEXT,
    '[KVCache() if kind == "full_attention" else RotatingKVCache(self.config.sliding_window)'
    " for kind in self.config.layer_types[: self.first_kv_shared_layer_idx]]",
    "`model(tokens)` without a cache, on any checkpoint: training.",
)
MAGNITUDE_FLOOR = replace(
    magnitude_floor(TEXT, "\n    for i, layer", "\n    h = mx.mean", proof="test_rows_of_unequal_length_become_nan"),
    reached="A batch of prompts of unequal length, whose padding `generate/ar.py` embeds as zeros: all logits of a "
    "padded row are NaN. Shown on the CPU, on other devices not looked at. Else an embedding of zeros.",
    steps=("text.layers.0.attn.context",),  # the padding's own steps are not compared: real tokens inherit its NaN
    inputs=Inputs("batch"),
)
COEFFICIENTS_CLIPPED = coefficients_clipped(MODELING)
MOMENTS = moments(MODELING)

_MEAN = "target_magnitude = mx.mean({}, axis=-1, keepdims=True)"

MAGNITUDE_MEANS = Patch(
    name="magnitude-means",
    wrong="The magnitude that projected streams are rescaled to is an `mx.mean` over the hidden size, which adds one "
    "square after the other on the CPU. mlx-lm has the same lines, and stays within the floors in all scenarios.",
    kind=Kind.NUMERICS,
    reached="MLX's CPU device, here in a decode step behind a picture and a sound; the error grows with the width.",
    edits=tuple(
        # calls of `mx.mean` stay as many: a step is found by counting them
        Edit(TEXT, _MEAN.format(squares), _MEAN.format(f"mx.unflatten({squares}, -1, (-1, 16)).mean(axis=-1)"))
        for squares in ("h0**2", "h[0] ** 2")
    ),
    steps=("text.altup.*.target_magnitude",),
    inputs=Inputs("decode", BOTH),
    dtypes=("float32",),
)

_MADE = (
    "self.embed_audio = Gemma3nMultimodalEmbedder(\n        config.audio_config, text_config=config.text_config\n    )"
)
_SAID = "h = self.embed_tokens(inputs) * (self.hidden_size**0.5)"

MEDIA_IDS_AS_TEXT = Patch(
    name="media-ids-as-text",
    wrong="In a prompt without media (an early return) and in decode steps, ids of pictures and sounds are embedded by "
    "the text's table; the reference embeds them by the embedder of their kind.",
    kind=Kind.DELIBERATE,
    reached="Ids beyond the text's, in a prompt without media or chosen by the model.",
    edits=(
        Edit(EMBED, "if pixel_values is None and input_features is None:", "if False:"),
        Edit(
            f"{MODEL}.__init__",
            _MADE,
            f"{_MADE}\n    self.language_model.model.__dict__['embedders'] = "
            "{name: self[name] for name in ('embed_vision', 'embed_audio')}",
        ),
        Edit(
            TEXT,
            _SAID,
            f"{_SAID}\n        "
            "__import__('implementations.mlx_vlm.hard', fromlist=['fill']).fill(h, inputs, self.__dict__['embedders'])",
        ),
    ),
    steps=("text.inputs_embeds",),
    inputs=Inputs("outside"),
)

TEXT_PATCHES = (
    EMBEDDING_SCALE,
    SHARED_ROTATION,
    KV_WITHOUT_CACHE,
    MAGNITUDE_FLOOR,
    COEFFICIENTS_CLIPPED,
    MEDIA_IDS_AS_TEXT,
    MOMENTS,
    MAGNITUDE_MEANS,
)
