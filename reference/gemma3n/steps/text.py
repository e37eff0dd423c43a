"""The steps of Gemma 3n's language model around its layers, in execution order."""

from __future__ import annotations

from reference.common.steps import StepAt
from reference.gemma3n.steps.source import ALTUP, PER_LAYER, RMSNORM, ROPE, SLIDING, SOFTCAP, assigned, parameter

MODEL, TEXT = "Gemma3nModel.forward", "Gemma3nTextModel.forward"
PROJECT = "Gemma3nTextModel.project_per_layer_inputs"
ROTARY = "Gemma3nRotaryEmbedding.forward"
HEAD = "Gemma3nForConditionalGeneration.forward"

HIDDEN = "batch token hidden"
PER_LAYER_AXES = "batch token layer ple"

HARD_STEPS = (
    StepAt("text.input_ids", "batch token", "token ids", parameter(MODEL, "input_ids"), kind="integer"),
    StepAt("text.embed_tokens", HIDDEN, "token embedding x sqrt(hidden_size)", assigned(MODEL, "inputs_embeds", 0)),
    StepAt("text.per_layer_inputs.token", PER_LAYER_AXES,
           "per-layer token embedding x sqrt(ple); ids outside the table use row 0",
           assigned(MODEL, "per_layer_inputs", 0), paper=PER_LAYER),
    StepAt("embed_vision.hard", HIDDEN, "hard embedding of vision ids; other tokens get the last vision id's",
           assigned(MODEL, "vision_embeds", 1)),
    StepAt("embed_audio.hard", HIDDEN, "hard embedding of audio ids; other tokens get the last audio id's",
           assigned(MODEL, "audio_embeds", 1)),
)  # fmt: skip

MERGED_IMAGES = StepAt("text.merged.image", HIDDEN, "embeddings with the image's soft tokens in their places",
                       assigned(MODEL, "inputs_embeds", 3), needs="image")  # fmt: skip
MERGED_AUDIO = StepAt("text.merged.audio", HIDDEN, "embeddings with the audio's soft tokens in their places",
                      assigned(MODEL, "inputs_embeds", 4), needs="audio")  # fmt: skip

EMBED_STEPS = (
    StepAt("text.inputs_embeds", HIDDEN, "embeddings that enter the language model, all modalities merged",
           parameter(TEXT, "inputs_embeds")),
    StepAt("text.per_layer_inputs.projection", PER_LAYER_AXES,
           "per_layer_model_projection of the embeddings x hidden_size^-0.5",
           assigned(PROJECT, "per_layer_projection", 2), paper=PER_LAYER),
    StepAt("text.per_layer_inputs.projection_norm", PER_LAYER_AXES, "RMSNorm over each layer's slice",
           assigned(PROJECT, "per_layer_projection", 3), paper=PER_LAYER),
    StepAt("text.per_layer_inputs.out", PER_LAYER_AXES, "(normed projection + token term) / sqrt(2)",
           assigned(TEXT, "per_layer_inputs", 1), paper=PER_LAYER),
    StepAt("text.position_ids", "batch token", "position of each token, counted from the first real one",
           parameter(TEXT, "position_ids"), kind="integer"),
    StepAt("text.mask.{key}", "batch token key", "which keys a query sees in {key} layers",
           assigned(TEXT, "causal_mask_mapping", 0), kind="mask", paper=SLIDING, each=True),
    StepAt("text.altup.embed.target_magnitude", "batch token one", "root mean square of the embedding",
           assigned(TEXT, "target_magnitude", 0), paper=ALTUP),
    StepAt("text.altup.embed.{i}.projection", HIDDEN, "altup_projections of the embedding",
           assigned(TEXT, "altup_proj", 0, "i"), paper=ALTUP),
    StepAt("text.altup.embed.{i}.magnitude", "batch token one", "root mean square of the projection, at least 1e-5^0.5",
           assigned(TEXT, "new_magnitude", 1, "i"), paper=ALTUP),
    StepAt("text.altup.embed.{i}.out", HIDDEN, "projection rescaled to the embedding's magnitude",
           assigned(TEXT, "current_hidden_state", 1, "i"), paper=ALTUP),
    StepAt("text.altup.embed.out", "stream batch token hidden", "the embedding and its projections, stacked as streams",
           assigned(TEXT, "hidden_states", 0), paper=ALTUP),
    StepAt("text.rope.{layer_type}.inv_freq", "frequency", "angular frequencies of the rotary embedding",
           assigned(ROTARY, "inv_freq", 0, "layer_type"), paper=ROPE),
)  # fmt: skip

UNEMBED_STEPS = (
    StepAt("text.altup.unembed.target_magnitude", "batch token one", "root mean square of stream 0",
           assigned(TEXT, "target_magnitude", 1), paper=ALTUP),
    StepAt("text.altup.unembed.{i}.projection", HIDDEN, "altup_unembed_projections of the stream",
           assigned(TEXT, "altup_unemb_proj", 0, "i"), paper=ALTUP),
    StepAt("text.altup.unembed.{i}.magnitude", "batch token one",
           "root mean square of the projection, at least 1e-5^0.5", assigned(TEXT, "new_magnitude", 3, "i"),
           paper=ALTUP),
    StepAt("text.altup.unembed.{i}.out", HIDDEN, "projection rescaled to stream 0's magnitude",
           assigned(TEXT, "current_hidden_state", 3, "i"), paper=ALTUP),
    StepAt("text.altup.unembed.out", HIDDEN, "mean of the streams", assigned(TEXT, "hidden_states", 3), paper=ALTUP),
    StepAt("text.norm", HIDDEN, "final RMSNorm", assigned(TEXT, "hidden_states", 4), paper=RMSNORM),
    StepAt("text.lm_head", "batch token vocabulary", "logits before the soft-cap; the head is the embedding table",
           assigned(HEAD, "logits", 0)),
    StepAt("text.logits", "batch token vocabulary", "cap x tanh(logits / cap)", assigned(HEAD, "logits", 3),
           paper=SOFTCAP),
)  # fmt: skip
