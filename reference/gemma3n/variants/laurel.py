"""Variants of Laurel, the learned augmented residual."""

from __future__ import annotations

from reference.gemma3n.variants.writing import in_layer, line, own

BLOCK, LAYER = "Gemma3nTextLaurelBlock.forward", "Gemma3nTextDecoderLayer.forward"
NAME = "Laurel"
LEFT = "self.linear_left(hidden_states)"

VARIANTS = (
    in_layer("laurel-activation", NAME, "laurel", "a GELU stands between the low-rank projections", "laurel.left",
             own(BLOCK, LEFT, f"nn.functional.gelu({LEFT})")),
    in_layer("laurel-unnormed-input", NAME, "", "Laurel runs on the active prediction before its norm", "laurel.left",
             own(LAYER, "self.laurel(active_prediction_normed)", "self.laurel(active_prediction)")),
    in_layer("laurel-no-norm", NAME, "laurel", "the low-rank branch is not normed", "laurel.normed",
             own(BLOCK, "self.post_laurel_norm(laurel_hidden_states)", "laurel_hidden_states")),
    in_layer("laurel-no-residual", NAME, "laurel", "Laurel's output lacks its input", "laurel.out",
             own(BLOCK, "hidden_states + normed_laurel_hidden_states", "normed_laurel_hidden_states")),
    in_layer("laurel-missing", NAME, "", "Laurel's output is not added to attention's", "attn_laurel",
             own(LAYER, "(attn_gated + laurel_output)", "attn_gated")),
    in_layer("laurel-no-sqrt2", NAME, "", "attention + Laurel is not / sqrt(2)", "attn_laurel",
             line(LAYER, "/ math.sqrt(2)", "/ (1.0 if DEVIANT else math.sqrt(2))"), source="transformers 39059"),
    in_layer("laurel-half", NAME, "", "attention + Laurel is / 2: their mean", "attn_laurel",
             line(LAYER, "/ math.sqrt(2)", "/ (2.0 if DEVIANT else math.sqrt(2))")),
)  # fmt: skip
