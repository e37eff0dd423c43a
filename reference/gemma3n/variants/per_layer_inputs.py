"""Variants of the per-layer inputs: their table, their projection, and what each layer does with its own."""

from __future__ import annotations

from reference.gemma3n.variants.writing import PICTURE, in_layer, in_text, line, own

GET = "Gemma3nTextModel.get_per_layer_inputs"
PROJECT = "Gemma3nTextModel.project_per_layer_inputs"
LAYER = "Gemma3nTextDecoderLayer.forward"

NAME = "per-layer inputs"
TABLE = "self.embed_tokens_per_layer(input_ids)"
IN_TABLE = "torch.where(in_table, input_ids, 0)"
NORMED = "self.per_layer_projection_norm(per_layer_projection)"
RATIO = "(self.config.hidden_size / self.hidden_size_per_layer_input) ** 0.5"
PROJECTED = "self.per_layer_projection(first_prediction)"
GATED = "torch.multiply(first_prediction, per_layer_input)"
ACTIVATED = "self.act_fn(first_prediction)"
POST = "self.post_per_layer_input_norm(first_prediction)"

AROUND = (
    in_text("ple-scale-hidden", NAME, "", "per-layer embeddings x sqrt(hidden_size) instead of x sqrt(256)",
            "per_layer_inputs.token", line(GET, TABLE, f"({TABLE} * {RATIO})"), source="ANEMLL gemma3n branch"),
    in_text("ple-scale-missing", NAME, "", "per-layer embeddings are not scaled", "per_layer_inputs.token",
            line(GET, TABLE, f"({TABLE} * self.hidden_size_per_layer_input**-0.5)")),
    in_text("ple-padding-unscaled", NAME, "", "the row used for soft tokens is not x sqrt(256)",
            "per_layer_inputs.token",
            line(GET, TABLE, f"({TABLE} * torch.where(in_table, 1.0, self.hidden_size_per_layer_input**-0.5)"
                             "[..., None].to(self.embed_tokens_per_layer.weight.dtype))"),
            media=PICTURE, source="llama.cpp 21625"),
    in_text("ple-padding-zero", NAME, "", "ids outside the table have zeros instead of row 0", "per_layer_inputs.token",
            line(GET, TABLE, f"({TABLE} * in_table[..., None])"), scenario="outside", source="llama.cpp"),
    in_text("ple-end-zero", NAME, "", "the id that ends a picture or a sound has zeros instead of row 0",
            "per_layer_inputs.token",
            # a modality's ids are 128 from a multiple of it, and the first ends what is shown or played
            line(GET, f"input_ids = {IN_TABLE}", f"ends, input_ids = ~in_table & (input_ids % 128 == 0), {IN_TABLE}"),
            line(GET, TABLE, f"({TABLE} * ~ends[..., None])"), media=PICTURE, source="llama.cpp"),
    in_text("ple-padding-last-row", NAME, "", "ids outside the table use its last row instead of row 0",
            "per_layer_inputs.token",
            line(GET, IN_TABLE, "torch.where(in_table, input_ids, self.config.vocab_size_per_layer_input - 1)"),
            scenario="outside"),
    in_text("ple-padding-modulo", NAME, "", "ids outside the table wrap around", "per_layer_inputs.token",
            line(GET, IN_TABLE, "input_ids % self.config.vocab_size_per_layer_input"), scenario="outside"),
    in_text("ple-chunk-restart", NAME, "", "the second chunk reuses the first rows of the per-layer inputs",
            "per_layer_inputs.token",
            line("Gemma3nModel.forward", "self.language_model.get_per_layer_inputs(input_ids)",
                 "self.language_model.get_per_layer_inputs(HELPERS.restarted(input_ids, past_key_values))"),
            scenario="chunked", source="mlx-vlm 681, mlx-vlm 751"),
    in_text("ple-width-major", NAME, "", "the table's rows are read as width x layer instead of layer x width",
            "per_layer_inputs.token",
            line(GET, f"{TABLE}.reshape(",
                 f"{TABLE}.unflatten(-1, (self.hidden_size_per_layer_input, -1)).transpose(-1, -2).reshape(")),
    in_text("ple-missing", NAME, "", "per-layer inputs lack the token term", "per_layer_inputs.out",
            line(PROJECT, "(per_layer_projection + per_layer_inputs)",
                 "(per_layer_projection + 0 * per_layer_inputs)"),
            source="transformers (inputs_embeds path), mlx-vlm 414"),
    in_text("ple-projection-missing", NAME, "", "per-layer inputs lack the projection of the embeddings",
            "per_layer_inputs.out",
            line(PROJECT, "(per_layer_projection + per_layer_inputs)",
                 "(0 * per_layer_projection + per_layer_inputs)")),
    in_text("ple-no-sqrt2", NAME, "", "the sum of both terms is not / sqrt(2)", "per_layer_inputs.out",
            line(PROJECT, "self.per_layer_input_scale.to(", "(2**0.5 * self.per_layer_input_scale).to(")),
    in_text("ple-no-norm", NAME, "", "the projection is not normed, only x the norm's gain",
            "per_layer_inputs.projection_norm",
            line(PROJECT, NORMED, "(per_layer_projection * self.per_layer_projection_norm.weight)")),
    in_text("ple-norm-over-layers", NAME, "", "the projection is normed over all layers at once",
            "per_layer_inputs.projection_norm",
            line(PROJECT, NORMED, "HELPERS.rms_normed(per_layer_projection, (-1, -2),"
                                  " self.per_layer_projection_norm.weight, self.per_layer_projection_norm.eps)")),
    in_text("ple-projection-scale", NAME, "", "the projection lacks x hidden_size^-0.5 before the per-layer norm,"
            " whose epsilon is scaled instead", "per_layer_inputs.projection_norm",
            line(PROJECT, NORMED, "HELPERS.rms_normed(per_layer_projection * self.hidden_size**0.5, (-1,),"
                                  " self.per_layer_projection_norm.weight, 1e-6 * self.hidden_size)"),
            source="vLLM", equivalent="the norm absorbs any factor"),
    in_layer("ple-next-layer", NAME, "", "the layer takes the next layer's per-layer input", "per_layer_gated",
             line("Gemma3nTextModel.forward", "per_layer_inputs[:, :, i, :]",
                  "per_layer_inputs[:, :, (i + 1) % len(self.layers) if DEVIANT[decoder_layer] else i, :]")),
)  # fmt: skip

IN_LAYERS = (
    in_layer("ple-gate-linear", NAME, "", "the gate of the per-layer input has no activation", "per_layer_activation",
             own(LAYER, ACTIVATED, "first_prediction")),
    in_layer("ple-gate-erf", NAME, "", "the gate's GELU is exact instead of the tanh form", "per_layer_activation",
             own(LAYER, ACTIVATED, "nn.functional.gelu(first_prediction)")),
    in_layer("ple-gate-half-table", NAME, "", "the gate's GELU is read from a table in float16", "per_layer_activation",
             own(LAYER, ACTIVATED, "HELPERS.gelu_by_table(first_prediction)"), source="ggml", dtypes=("float32",)),
    in_layer("ple-gate-silu", NAME, "", "the gate's activation is SiLU", "per_layer_activation",
             own(LAYER, ACTIVATED, "nn.functional.silu(first_prediction)")),
    in_layer("ple-added", NAME, "", "the per-layer input is added to the gate instead of multiplied", "per_layer_gated",
             own(LAYER, GATED, "(first_prediction + per_layer_input)")),
    in_layer("ple-no-post-norm", NAME, "", "the projection back is not normed", "post_per_layer_input_norm",
             own(LAYER, POST, "first_prediction")),
    in_layer("ple-projection-gated-again", NAME, "", "the activation is applied behind the projection back too",
             "per_layer_projection", own(LAYER, PROJECTED, f"self.act_fn({PROJECTED})")),
    in_layer("ple-to-all-streams", NAME, "", "the per-layer term is added to the active stream too", "out",
             line(LAYER, "corrected_predictions[1:]", "corrected_predictions[0 if DEVIANT else 1:]")),
    in_layer("ple-to-active-stream", NAME, "", "the per-layer term is added to the active stream alone", "out",
             line(LAYER, "corrected_predictions[1:]",
                  "corrected_predictions[0 if DEVIANT else 1:1 if DEVIANT else None]")),
)  # fmt: skip

VARIANTS = (*AROUND, *IN_LAYERS)
