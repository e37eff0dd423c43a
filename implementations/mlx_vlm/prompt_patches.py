"""What is wrong in what mlx-vlm 0.7.10 makes of a prompt, and in how it hands a long one to the model."""

from __future__ import annotations

from implementations.mlx_packages.patch import Patch
from parity.weave import Edit

_CALLED = 'if "add_special_tokens" in parameters:'
_BUILT = "tokenizer=tokenizer,\n        **proc_kwargs,"

BEGIN_TWICE = Patch(
    name="begin-twice",
    wrong="a prompt in the chat template begins with two begin tokens: the template has one and the tokenizer adds "
    "one, for the processor is built without its template, and its own call is not told to add none",
    kind="bug",
    needs="a prompt in the chat template",
    edits=(
        Edit(
            "mlx_vlm.models.gemma3n.processing_gemma3n:Gemma3nProcessor.from_pretrained",
            _BUILT,
            f"chat_template=tokenizer.chat_template, {_BUILT}",
        ),
        Edit("mlx_vlm.utils:process_inputs", _CALLED, _CALLED.replace(":", ' or "kwargs" in parameters:')),
    ),
    steps=("processor.token_ids",),
)

_BEHIND = 'message["content"] + [MessageBuilder.audio_message()] * num_audios'

AUDIO_BEHIND_TEXT = Patch(
    name="audio-behind-text",
    wrong="sounds stand behind the text of a turn, pictures before it; the reference leaves the order to the user",
    kind="deliberate",
    needs="a prompt with a sound",
    edits=(
        Edit(
            "mlx_vlm.prompt_utils:MessageFormatter._format_list_with_image_type",
            _BEHIND,
            'message["content"][:num_images] + [MessageBuilder.audio_message()] * num_audios'
            ' + message["content"][num_images:]',
        ),
    ),
    steps=("processor.token_ids",),
)

_CHUNK, _REST = "chunk_output = model.language_model(", "inputs_embeds = inputs_embeds[:, n_to_process:]"
_INPUTS = 'kwargs["per_layer_inputs"]'
_GENERATE = "mlx_vlm.generate.ar:generate_step"
_INDENT = "\n" + 20 * " "

WARM_PER_LAYER_INPUTS = Patch(
    name="warm-per-layer-inputs",
    wrong="behind a warm cache every token but the last of a prompt gets the per-layer inputs of the token after it: "
    "they are cut by the cache's length, though they are those of the new tokens alone",
    kind="bug",
    needs="generate_step with a prompt_cache that holds something",
    edits=(
        Edit(_GENERATE, _CHUNK, f"chunk_{_INPUTS} = {_INPUTS}[:, :n_to_process]{_INDENT}{_CHUNK}"),
        Edit(_GENERATE, _REST, f"{_REST}{_INDENT}{_INPUTS} = {_INPUTS}[:, n_to_process:]"),
    ),
    steps=(),
)

PROMPT_PATCHES = (BEGIN_TWICE, AUDIO_BEHIND_TEXT, WARM_PER_LAYER_INPUTS)
