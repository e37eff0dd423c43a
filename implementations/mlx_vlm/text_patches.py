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
from parity.weave import Edit

MODELING, MODEL = "mlx_vlm.models.gemma3n.language", "mlx_vlm.models.gemma3n.gemma3n:Model"
TEXT, EMBED = f"{MODELING}:Gemma3Model.__call__", f"{MODEL}.get_input_embeddings"

EMBEDDING_SCALE = Patch(
    name="embedding-scale",
    wrong="a prompt's embeddings are not multiplied by sqrt(hidden_size); those of decoded tokens are",
    kind="bug",
    needs="any prompt",
    edits=(
        Edit(
            EMBED,
            "inputs_embeds = self.language_model.model.embed_tokens(input_ids)",
            "inputs_embeds = self.language_model.model.embed_tokens(input_ids)"
            " * self.language_model.model.hidden_size**0.5",
        ),
    ),
    steps=("text.embed_tokens",),
)

_STATE = "keys, values = state[0], state[1]\n        offset = cache.offset"

SHARED_ROTATION = Patch(
    name="shared-rotation",
    wrong="KV-shared layers rotate their queries by an offset that their donor has already moved on by the chunk",
    kind="bug",
    needs="a cache",
    edits=(Edit(f"{MODELING}:Gemma3nAttention.__call__", _STATE, f"{_STATE} - L"),),
    steps=("text.layers.*.attn.q_rope",),
)

KV_WITHOUT_CACHE = kv_without_cache(
    TEXT,
    '[KVCache() if kind == "full_attention" else RotatingKVCache(self.config.sliding_window)'
    " for kind in self.config.layer_types[: self.first_kv_shared_layer_idx]]",
)
MAGNITUDE_FLOOR = replace(
    magnitude_floor(TEXT, "\n    for i, layer", "\n    h = mx.mean"),
    needs="a batch of prompts of unequal length, whose padding the package embeds as zeros; else an embedding of zeros",
)
COEFFICIENTS_CLIPPED = coefficients_clipped(MODELING)
MOMENTS = moments(MODELING)

_MADE = (
    "self.embed_audio = Gemma3nMultimodalEmbedder(\n        config.audio_config, text_config=config.text_config\n    )"
)
_SAID = "h = self.embed_tokens(inputs) * (self.hidden_size**0.5)"

MEDIA_IDS_AS_TEXT = Patch(
    name="media-ids-as-text",
    wrong="ids of pictures and sounds are embedded as text in a prompt without media and in decode steps; the "
    "reference embeds them by the embedder of their kind",
    kind="deliberate",
    needs="an id beyond the text's, in a prompt without media or chosen by the model",
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
)

TEXT_PATCHES = (
    EMBEDDING_SCALE,
    SHARED_ROTATION,
    KV_WITHOUT_CACHE,
    MAGNITUDE_FLOOR,
    COEFFICIENTS_CLIPPED,
    MEDIA_IDS_AS_TEXT,
    MOMENTS,
)
