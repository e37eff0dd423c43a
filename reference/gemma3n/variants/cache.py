"""Variants of the cache of keys and values, and of the layers that share another's."""

from __future__ import annotations

from parity.variant import Variant
from reference.gemma3n.variants.rope import QUERIES
from reference.gemma3n.variants.writing import in_layer, line, own

ATTENTION = "Gemma3nTextAttention.forward"
CACHE, SHARING = "cache", "KV sharing"
FIRST_SHARED, SHARED_LAYER, FULL_SHARED = "20", "21", "24"
"""The first of the layers that share, a later sliding one, and a full one."""

UPDATED = "past_key_values.update(key_states, value_states, self.layer_idx)"
SHARED = "shared_kv_states[self.layer_type]"
UNSHARED = "HELPERS.unshared(self, hidden_states, cos, sin)"


def _shared(name: str, meaning: str, step: str, wrong: str, *, place: str = SHARED_LAYER, source: str = "") -> Variant:
    """Other keys and values for a layer that shares."""
    edit = line(ATTENTION, f"key_states, value_states = {SHARED}",
                f"key_states, value_states = {wrong} if DEVIANT else {SHARED}")  # fmt: skip
    return in_layer(name, SHARING, "self_attn", meaning, step, edit, place=place, source=source)


def _cached(name: str, meaning: str, step: str, wrong: str, source: str = "") -> Variant:
    """Other keys and values from the cache, in decode."""
    return in_layer(name, CACHE, "self_attn", meaning, step, own(ATTENTION, UPDATED, wrong), scenario="long",
                    place="0", source=source)  # fmt: skip


VARIANTS = (
    _cached("kv-renormed", "cached keys are normed and rotated again every step", "attn.keys",
            f"HELPERS.renormed({UPDATED}, self.k_norm, cos, sin)", "google-deepmind/gemma 392"),
    _cached("cache-ring-order", "a full ring buffer is read from its first slot, not from its oldest", "attn.keys",
            f"HELPERS.turned({UPDATED}, key_states)"),
    _cached("cache-stale-key", "the newest key is still that of the token before", "attn.keys",
            f"HELPERS.stale({UPDATED}, key_states)"),
    _cached("cache-keys-as-values", "values are read from the keys' cache", "attn.values",
            f"({UPDATED}[0],) * 2"),
    _shared("kv-not-shared", "a shared layer uses its own key and value projections", "attn.keys", UNSHARED,
            place=FIRST_SHARED, source="mlx-lm 322, transformers 45242, mobius 474"),
    _shared("kv-wrong-donor", "a sliding layer that shares gets the full layers' keys", "attn.keys",
            "shared_kv_states['full_attention']"),
    _shared("kv-wrong-donor-full", "a full layer that shares gets the sliding layers' keys", "attn.keys",
            "shared_kv_states['sliding_attention']", place=FULL_SHARED),
    _shared("kv-values-not-shared", "a shared layer uses its own values", "attn.values",
            f"({SHARED}[0], {UNSHARED}[1])"),
    _shared("kv-swapped", "shared keys and values are swapped", "attn.keys", f"{SHARED}[::-1]"),
    in_layer("rope-of-shared-ahead", SHARING, "self_attn", "a shared layer rotates its queries by its donor's"
             " offset, which the chunk has moved on", "attn.q_rope",
             own(ATTENTION, QUERIES, "HELPERS.ahead(self, query_states, cos, sin)"), place=SHARED_LAYER,
             source="mlx-vlm"),
    _shared("kv-shared-rotated", "shared keys are rotated once more", "attn.keys",
            f"(apply_rotary_pos_emb({SHARED}[0], cos, sin), {SHARED}[1])"),
)  # fmt: skip
