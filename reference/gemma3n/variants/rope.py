"""Variants of the rotary position embedding and of positions."""

from __future__ import annotations

from reference.gemma3n.variants.writing import in_layer, in_text, line, own

ROTARY, ATTENTION = "Gemma3nRotaryEmbedding.forward", "Gemma3nTextAttention.forward"
MODEL = "Gemma3nModel.forward"

NAME, PART = "RoPE", "self_attn"
FREQUENCIES = 'getattr(self, f"{layer_type}_inv_freq")'
OF_OTHER = ("getattr(self, {'full_attention': 'sliding_attention', 'sliding_attention': 'full_attention'}[layer_type]"
            " + '_inv_freq')")  # fmt: skip
QUERIES = "apply_rotary_pos_emb(query_states, cos, sin, unsqueeze_dim=2)"
KEYS = "apply_rotary_pos_emb(key_states, cos, sin, unsqueeze_dim=2)"
ANGLES = "cos, sin = position_embeddings"
POSITIONS = "position_ids=position_ids,"

FREQUENCY = (
    in_text("rope-bases-swapped", NAME, "", "the bases of local and global layers are swapped",
            "rope.full_attention.inv_freq", line(ROTARY, FREQUENCIES, OF_OTHER),
            source="candle 2917, ComfyUI 11409"),
    in_text("rope-one-base", NAME, "", "sliding layers have the full layers' base", "rope.sliding_attention.inv_freq",
            line(ROTARY, FREQUENCIES, "self.full_attention_inv_freq")),
    in_text("rope-scaling-local", NAME, "", "a linear RoPE scaling of 8 is applied to sliding layers",
            "rope.sliding_attention.inv_freq",
            line(ROTARY, FREQUENCIES, f"({FREQUENCIES} / (8.0 if layer_type == 'sliding_attention' else 1.0))"),
            source="mlx-vlm"),
    in_text("rope-scaling-global", NAME, "", "Gemma 3's linear RoPE scaling of 8 is applied to full layers",
            "rope.full_attention.inv_freq",
            line(ROTARY, FREQUENCIES, f"({FREQUENCIES} / (8.0 if layer_type == 'full_attention' else 1.0))")),
    in_text("rope-parameters-ignored", NAME, "", "rope_parameters are not read: full layers have a base of 10,000",
            "rope.full_attention.inv_freq",
            line(ROTARY, FREQUENCIES, f"({FREQUENCIES} if layer_type != 'full_attention'"
                                      f" else HELPERS.frequencies({FREQUENCIES}, 10_000.0))")),
    in_text("rope-exponent", NAME, "", "frequencies fall to 1/base in one step less", "rope.full_attention.inv_freq",
            line(ROTARY, FREQUENCIES, f"({FREQUENCIES} ** (len({FREQUENCIES}) / (len({FREQUENCIES}) - 1)))")),
)  # fmt: skip

POSITION = (
    in_text("position-restarts", NAME, "", "positions begin at 0 again in each decode step", "position_ids",
            line(MODEL, POSITIONS,
                 "position_ids=position_ids * 0 if position_ids.shape[-1] == 1 else position_ids,"),
            scenario="long"),
    in_text("position-of-padding", NAME, "", "positions of the prefill count padding", "position_ids",
            line(MODEL, POSITIONS, "position_ids=position_ids - position_ids[:, :1].clamp(max=0),"),
            scenario="batch"),
    in_text("position-of-padding-always", NAME, "", "positions count padding, in decode steps too", "position_ids",
            line(MODEL, POSITIONS, "position_ids=position_ids + (attention_mask == 0).sum(-1, keepdim=True),"),
            scenario="batch"),
    in_text("position-from-one", NAME, "", "positions begin at 1", "position_ids",
            line(MODEL, POSITIONS, "position_ids=position_ids + 1,")),
    in_text("position-chunk-restarts", NAME, "", "positions begin at 0 again in each chunk", "position_ids",
            line(MODEL, POSITIONS, "position_ids=position_ids - position_ids[:, :1],"), scenario="chunked"),
)  # fmt: skip

ROTATION = (
    in_layer("rope-queries-unrotated", NAME, PART, "queries are not rotated", "attn.q_rope",
             own(ATTENTION, QUERIES, "query_states")),
    in_layer("rope-keys-unrotated", NAME, PART, "keys are not rotated", "attn.k_rope",
             own(ATTENTION, KEYS, "key_states")),
    in_layer("rope-shifted", NAME, PART, "each token is rotated by the position of the one before", "attn.q_rope",
             line(ATTENTION, ANGLES, "cos, sin = (tuple(angle.roll(1, -2) for angle in position_embeddings)"
                                     " if DEVIANT else position_embeddings)")),
    in_layer("rope-backwards", NAME, PART, "queries are rotated the other way", "attn.q_rope",
             own(ATTENTION, QUERIES, "apply_rotary_pos_emb(query_states, cos, -sin, unsqueeze_dim=2)")),
    in_layer("rope-interleaved", NAME, PART, "neighbouring channels are rotated instead of halves", "attn.q_rope",
             own(ATTENTION, QUERIES, "HELPERS.interleaved(query_states, cos, sin)"),
             own(ATTENTION, KEYS, "HELPERS.interleaved(key_states, cos, sin)")),
    in_layer("rope-partial", NAME, PART, "half of the channels are rotated", "attn.q_rope",
             own(ATTENTION, QUERIES, "HELPERS.partly_rotated(query_states, cos, sin)")),
    in_layer("rope-values-rotated", NAME, PART, "values are rotated too", "attn.v_norm",
             own(ATTENTION, "self.v_norm(value_states)",
                 "apply_rotary_pos_emb(self.v_norm(value_states), cos, sin, unsqueeze_dim=2)")),
    in_layer("rope-twice", NAME, PART, "keys are rotated twice", "attn.k_rope",
             own(ATTENTION, KEYS, f"apply_rotary_pos_emb({KEYS}, cos, sin, unsqueeze_dim=2)")),
)  # fmt: skip

VARIANTS = (*FREQUENCY, *POSITION, *ROTATION)
