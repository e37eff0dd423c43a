"""Variants of the head: from the final norm to the logits."""

from __future__ import annotations

from reference.gemma3n.variants.writing import in_text, line

HEAD = "Gemma3nForConditionalGeneration.forward"
UNEMBED, CAP = "unembed", "soft-cap"
PROJECTED = "self.lm_head(hidden_states)"
SQUASHED = "logits = torch.tanh(logits)"
DIVIDED, MULTIPLIED = "logits / final_logit_softcapping", "logits * final_logit_softcapping"

VARIANTS = (
    in_text("unembed-scaled", UNEMBED, "", "the tied head's table is x sqrt(hidden_size), as the embeddings are",
            "lm_head", line(HEAD, PROJECTED, f"{PROJECTED} * hidden_states.shape[-1] ** 0.5")),
    in_text("unembed-row-before", UNEMBED, "", "each id's logit is that of the one before", "lm_head",
            line(HEAD, PROJECTED, f"{PROJECTED}.roll(1, -1)")),
    in_text("unembed-text-ids-only", UNEMBED, "", "logits of ids outside the per-layer table are 0", "lm_head",
            line(HEAD, PROJECTED, f"{PROJECTED} * (torch.arange(self.lm_head.out_features, device=hidden_states.device)"
                                  " < self.config.get_text_config().vocab_size_per_layer_input)")),
    in_text("unembed-untied", UNEMBED, "", "the head has a table of its own, which no checkpoint fills", "lm_head",
            line(HEAD, PROJECTED, "nn.functional.linear(hidden_states, HELPERS.drawn_like(self.lm_head.weight))")),
    in_text("soft-cap-missing", CAP, "", "logits have no soft-cap", "logits", line(HEAD, SQUASHED, "logits = logits")),
    in_text("soft-cap-50", CAP, "", "the cap is 50, that of Gemma 2's attention", "logits",
            line(HEAD, DIVIDED, "logits / 50.0"), line(HEAD, MULTIPLIED, "logits * 50.0")),
    in_text("soft-cap-hard", CAP, "", "logits are clipped at the cap", "logits",
            line(HEAD, SQUASHED, "logits = logits.clamp(-1, 1)")),
    in_text("soft-cap-not-rescaled", CAP, "", "logits are not multiplied by the cap again", "logits",
            line(HEAD, MULTIPLIED, "logits * 1.0")),
    in_text("soft-cap-twice", CAP, "", "logits are capped twice", "logits",
            line(HEAD, SQUASHED, "logits = torch.tanh(torch.tanh(logits))")),
)  # fmt: skip
