"""Variants of AltUp: the streams' beginning and end, the router, prediction and correction."""

from __future__ import annotations

from reference.gemma3n.variants.writing import in_layer, in_text, line, own

PREDICT, CORRECT = "Gemma3nTextAltUp.predict", "Gemma3nTextAltUp.correct"
ROUTER, SCALE = "Gemma3nTextAltUp.compute_router_modalities", "Gemma3nTextAltUp.forward"
LAYER, TEXT = "Gemma3nTextDecoderLayer.forward", "Gemma3nTextModel.forward"

NAME = "AltUp"
ROUTED = "torch.tanh(routed.float())"
COEFS = "self.correction_coefs(modalities) + 1.0"
PREDICTED = "self.prediction_coefs(modalities)"
INNOVATION = "activated - predictions[self.config.altup_active_idx]"
CLIPPED = "nn.functional.linear(modalities, self.prediction_coefs.weight.clamp({0}))"
TARGET = "torch.mean(hidden_states_0**2, dim=-1, keepdim=True) ** 0.5"
TARGET_AT_END = "torch.mean(hidden_states[0] ** 2, dim=-1, keepdim=True) ** 0.5"
PROJECTION = "self.altup_projections[i - 1](hidden_states_0)"
UNEMBEDDING = "self.altup_unembed_projections[i - 1](hidden_states[i])"
STACKED = "torch.stack(temp_hidden_states, dim=0)"
AVERAGED = "torch.mean(hidden_states, dim=0)"
BOUNDED = (".to(dtype=hidden_states_0.dtype, device=target_magnitude.device)\n"
           "        new_magnitude = torch.mean(current_hidden_state**2, dim=-1, keepdim=True)\n"
           "        new_magnitude = torch.sqrt(new_magnitude.clamp(min=1e-5))")  # fmt: skip
"""Behind the projection that it is of: the same lines rescale the streams at the beginning and at the end."""
UNBOUNDED = BOUNDED.replace(".clamp(min=1e-5)", "")


AROUND = (
    in_text("altup-magnitude-mean-abs", NAME, "", "the embedding's magnitude is its mean absolute value",
            "altup.embed.target_magnitude", line(TEXT, TARGET, "hidden_states_0.abs().mean(-1, keepdim=True)")),
    in_text("altup-magnitude-norm", NAME, "", "the embedding's magnitude is its norm: a sum instead of a mean",
            "altup.embed.target_magnitude", line(TEXT, TARGET, "hidden_states_0.norm(dim=-1, keepdim=True)")),
    in_text("altup-one-projection", NAME, "", "all streams begin with the first projection",
            "altup.embed.2.projection", line(TEXT, PROJECTION, "self.altup_projections[0](hidden_states_0)")),
    in_text("altup-projections-chained", NAME, "", "each stream begins with the projection of the one before",
            "altup.embed.2.projection",
            line(TEXT, PROJECTION, "self.altup_projections[i - 1](temp_hidden_states[-1])")),
    in_text("altup-stream-order", NAME, "", "the projected streams are stacked backwards", "altup.embed.out",
            line(TEXT, STACKED, "torch.stack(temp_hidden_states[:1] + temp_hidden_states[:0:-1], dim=0)")),
    in_text("altup-streams-copied", NAME, "", "the streams begin as copies of the embedding", "altup.embed.out",
            line(TEXT, STACKED, "torch.stack([hidden_states_0] * len(temp_hidden_states), dim=0)")),
    in_text("altup-unembed-magnitude", NAME, "", "streams are rescaled to the embedding's magnitude at the end too",
            "altup.unembed.target_magnitude", line(TEXT, TARGET_AT_END, TARGET)),
    in_text("altup-magnitude-unbounded", NAME, "", "a projected stream's mean square is not bounded by 1e-5",
            "altup.embed.1.magnitude", line(TEXT, f"altup_proj{BOUNDED}", f"altup_proj{UNBOUNDED}"), scenario="faint",
            source="llama.cpp, mlx-lm, mlx-vlm"),
    in_text("altup-unembed-unbounded", NAME, "", "a stream's mean square is not bounded by 1e-5 at the end",
            "altup.unembed.1.magnitude", line(TEXT, f"altup_unemb_proj{BOUNDED}", f"altup_unemb_proj{UNBOUNDED}"),
            scenario="faint", source="llama.cpp, mlx-lm, mlx-vlm"),
    in_text("altup-unembed-skipped", NAME, "", "streams are not projected at the end", "altup.unembed.1.projection",
            line(TEXT, UNEMBEDDING, "hidden_states[i]")),
    in_text("altup-unembed-swapped", NAME, "", "the projections at the end are in reverse order",
            "altup.unembed.1.projection",
            line(TEXT, UNEMBEDDING, "self.altup_unembed_projections[-i](hidden_states[i])")),
    in_text("altup-unembed-active-only", NAME, "", "only the active stream is taken at the end", "altup.unembed.out",
            line(TEXT, AVERAGED, "hidden_states[0]")),
    in_text("altup-unembed-summed", NAME, "", "streams are summed at the end instead of averaged", "altup.unembed.out",
            line(TEXT, AVERAGED, "torch.sum(hidden_states, dim=0)")),
)  # fmt: skip

PREDICTION = (
    in_layer("altup-router-no-norm", NAME, "altup", "the router's input is not normed", "altup.predict.router_input",
             own(ROUTER, "self.router_norm(x)", "x")),
    in_layer("altup-router-no-scale", NAME, "altup", "the router's input is not / hidden_size",
             "altup.predict.router_input", own(ROUTER, "self.router_input_scale", "1.0")),
    in_layer("altup-router-sqrt-scale", NAME, "altup", "the router's input is / sqrt(hidden_size)",
             "altup.predict.router_input",
             own(ROUTER, "self.router_input_scale", "self.router_input_scale**0.5")),
    in_layer("altup-router-no-tanh", NAME, "altup", "modalities are not squashed by tanh", "altup.predict.modalities",
             own(ROUTER, ROUTED, "routed.float()")),
    in_layer("altup-router-softmax", NAME, "altup", "modalities are a softmax", "altup.predict.modalities",
             own(ROUTER, ROUTED, "torch.softmax(routed.float(), -1)")),
    in_layer("altup-predict-not-transposed", NAME, "altup", "the prediction matrix is not transposed",
             "altup.predict.coefs",
             line(PREDICT, ".permute(0, 1, 3, 2)", ".permute(*((0, 1, 2, 3) if DEVIANT else (0, 1, 3, 2)))")),
    in_layer("altup-predict-clip-half", NAME, "altup", "prediction coefficients are clipped below the largest of them",
             "altup.predict.coefs",
             own(PREDICT, PREDICTED, CLIPPED.format("*(self.prediction_coefs.weight.abs().max() * t for t in (-.5, .5))"
                                                    ))),
    in_layer("altup-clip-at-inference", NAME, "altup", "altup_coef_clip is applied outside training",
             "altup.predict.coefs",
             own(PREDICT, PREDICTED, CLIPPED.format("-self.config.altup_coef_clip, self.config.altup_coef_clip")),
             source="mlx-lm, mlx-vlm", equivalent="no coefficient of the checkpoint reaches the clip"),
    in_layer("altup-predict-no-residual", NAME, "altup", "predictions lack the streams themselves",
             "altup.predict.out",
             line(PREDICT, "predictions += hidden_states",
                  "predictions += hidden_states * (0.0 if DEVIANT else 1.0)")),
    in_layer("altup-wrong-active-stream", NAME, "", "the layer runs on the second stream", "input_layernorm",
             line(LAYER, "active_prediction = predictions[self.config.altup_active_idx]",
                  "active_prediction = predictions[1 if DEVIANT else self.config.altup_active_idx]")),
)  # fmt: skip

CORRECTION = (
    in_layer("altup-correct-routed-early", NAME, "altup", "correction is routed by the prediction, not by the output",
             "altup.correct.router_input",
             own(CORRECT, "self.compute_router_modalities(activated)",
                 "self.compute_router_modalities(predictions[self.config.altup_active_idx])")),
    in_layer("altup-innovation-sign", NAME, "altup", "the innovation has the wrong sign", "altup.correct.innovation",
             own(CORRECT, INNOVATION, "predictions[self.config.altup_active_idx] - activated")),
    in_layer("altup-innovation-wrong-stream", NAME, "altup", "the innovation is held against the second stream",
             "altup.correct.innovation", own(CORRECT, INNOVATION, "activated - predictions[1]")),
    in_layer("altup-no-plus-one", NAME, "altup", "correction coefficients without + 1", "altup.correct.coefs",
             own(CORRECT, COEFS, "self.correction_coefs(modalities)")),
    in_layer("altup-coefs-transposed", NAME, "altup",
             "correction coefficients are permuted so that batch and token swap", "altup.correct.out",
             own(CORRECT, "all_coefs.permute(2, 0, 1)", "all_coefs.permute(2, 1, 0)"), scenario="square",
             source="mlx-lm 430, mlx-vlm 1030"),
    in_layer("altup-correct-no-residual", NAME, "altup", "corrected streams lack the predictions",
             "altup.correct.out",
             line(CORRECT, "corrected += predictions", "corrected += predictions * (0.0 if DEVIANT else 1.0)")),
    in_layer("altup-output-scale-missing", NAME, "", "the active stream is not x correct_output_scale",
             "altup.correct.scaled",
             own(LAYER, "self.altup.scale_corrected_output(first_prediction)", "first_prediction")),
    in_layer("altup-output-scale-plus-one", NAME, "altup", "the active stream is x (1 + correct_output_scale)",
             "altup.correct.scaled",
             own(SCALE, "corrected.type_as(self.correct_output_scale) * self.correct_output_scale",
                 "corrected.type_as(self.correct_output_scale) * (1 + self.correct_output_scale)")),
)  # fmt: skip

VARIANTS = (*AROUND, *PREDICTION, *CORRECTION)
