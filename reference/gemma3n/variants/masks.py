"""Variants of the language model's masks."""

from __future__ import annotations

from reference.gemma3n.variants.writing import PICTURE, in_layer, in_text, line, own

TEXT, EAGER = "Gemma3nTextModel.forward", "eager_attention_forward"
NAME = "masks"
SLIDING = "create_sliding_window_causal_mask(**mask_kwargs)"
FULL = "create_causal_mask(**mask_kwargs)"
WIDER = "create_sliding_window_causal_mask(**{{**mask_kwargs, 'config': HELPERS.wider(self.config, {0})}})"
MAPPED = "causal_mask_mapping[self.config.layer_types[i]]"
ADDED = "attn_weights + attention_mask"

VARIANTS = (
    in_text("mask-no-window", NAME, "", "sliding layers get the full causal mask", "mask.sliding_attention",
            line(TEXT, SLIDING,
                 "(create_causal_mask if inputs_embeds.shape[1] > 1"
                 " else create_sliding_window_causal_mask)(**mask_kwargs)"),
            scenario="long", source="mlx-lm 430"),
    in_text("mask-window-plus-one", NAME, "", "the window has one position more", "mask.sliding_attention",
            line(TEXT, SLIDING, WIDER.format(1)), scenario="long", source="mlxcel 405"),
    in_text("mask-window-minus-one", NAME, "", "the window has one position less", "mask.sliding_attention",
            line(TEXT, SLIDING, WIDER.format(-1)), scenario="long"),
    in_text("mask-window-everywhere", NAME, "", "full layers get the sliding mask", "mask.full_attention",
            line(TEXT, FULL, "(create_sliding_window_causal_mask if inputs_embeds.shape[1] > 1"
                             " else create_causal_mask)(**mask_kwargs)"), scenario="long"),
    in_text("mask-not-causal", NAME, "", "full layers see what follows", "mask.full_attention",
            line(TEXT, FULL, f"({FULL} * 0)")),
    in_text("mask-diagonal-hidden", NAME, "", "no token of a full layer sees itself, but the first",
            "mask.full_attention", line(TEXT, FULL, f"HELPERS.with_diagonal_hidden({FULL})")),
    in_text("mask-image-block", NAME, "", "soft tokens see each other, as in Gemma 3", "mask.full_attention",
            line(TEXT, FULL, f"HELPERS.with_block_seen({FULL}, 5, 21)"), media=PICTURE),
    in_text("mask-padding-ignored", NAME, "", "padding tokens are seen", "mask.full_attention",
            line(TEXT, '"attention_mask": attention_mask,', '"attention_mask": None,'), scenario="batch"),
    in_layer("mask-of-other-kind", NAME, "", "a sliding layer gets the full layers' mask", "attn.context",
             own(TEXT, MAPPED, "causal_mask_mapping['full_attention' if inputs_embeds.shape[1] > 1"
                               " else self.config.layer_types[i]]", "decoder_layer"), scenario="long"),
    in_layer("mask-bool-added", NAME, "self_attn", "the boolean mask is added as 0/1 instead of -inf/0",
             "attn.context", own(EAGER, ADDED, "(attn_weights + (attention_mask == 0).to(attn_weights.dtype))"),
             source="mlx-swift-lm 479"),
    in_layer("mask-multiplied", NAME, "self_attn", "hidden scores are set to 0 instead of -inf", "attn.context",
             own(EAGER, ADDED, "(attn_weights * (attention_mask == 0))")),
    in_layer("mask-soft", NAME, "self_attn", "hidden scores get -10 instead of -inf", "attn.context",
             own(EAGER, ADDED, "(attn_weights + attention_mask.clamp(min=-10.0))")),
    in_layer("mask-behind-softmax", NAME, "self_attn", "hidden weights are set to 0 behind the softmax, whose sum they"
             " stay in", "attn.context",
             own(EAGER, ADDED, "attn_weights"),
             line(EAGER, "attn_weights = nn.functional.dropout(",
                  "attn_weights = (attn_weights * (attention_mask == 0)) if DEVIANT else attn_weights\n"
                  "    attn_weights = nn.functional.dropout(")),
    in_layer("mask-missing", NAME, "self_attn", "one layer has no mask", "attn.context",
             own(EAGER, ADDED, "attn_weights")),
)  # fmt: skip
