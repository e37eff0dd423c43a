"""What is wrong in what mlx-vlm 0.7.10 makes of a prompt, and in how it hands a long one to the model."""

from __future__ import annotations

from implementations.mlx_packages.patch import Patch
from implementations.mlx_vlm.media import SOUND
from parity.fault import Kind, Needed
from parity.site import Edit

_CALLED = 'if "add_special_tokens" in parameters:'
_BUILT = "tokenizer=tokenizer,\n        **proc_kwargs,"

BEGIN_TWICE = Patch(
    name="begin-twice",
    wrong="A prompt in the chat template begins with two begin tokens: the template has one and the tokenizer adds "
    "one. The processor is built without the template that it loaded into its tokenizer, so that "
    "`should_add_special_tokens` says yes; and `process_inputs` does not pass the answer on, for the processor's call "
    "does not name the argument.",
    reached="Every prompt in the chat template, with media or without, of a checkpoint whose template is a file of its "
    "own.",
    edits=(
        Edit(
            "mlx_vlm.models.gemma3n.processing_gemma3n:Gemma3nProcessor.from_pretrained",
            _BUILT,
            f"chat_template=tokenizer.chat_template, {_BUILT}",
        ),
        Edit("mlx_vlm.utils:process_inputs", _CALLED, _CALLED.replace(":", ' or "kwargs" in parameters:')),
    ),
    steps=("processor.token_ids",),
    inputs=SOUND,
    needed=Needed.COMPARE,
)

_BEHIND = 'message["content"] + [MessageBuilder.audio_message()] * num_audios'

AUDIO_BEHIND_TEXT = Patch(
    name="audio-behind-text",
    wrong="Sounds stand behind the text of a turn, pictures before it: the formatter has one order for all models of "
    "its kind. The reference's template leaves the order to the user, who gave both first.",
    kind=Kind.DELIBERATE,
    reached="A prompt with a sound.",
    edits=(
        Edit(
            "mlx_vlm.prompt_utils:MessageFormatter._format_list_with_image_type",
            _BEHIND,
            'message["content"][:num_images] + [MessageBuilder.audio_message()] * num_audios'
            ' + message["content"][num_images:]',
        ),
    ),
    steps=("processor.token_ids",),
    inputs=SOUND,
    needed=Needed.COMPARE,
)

_CHUNK, _REST = "chunk_output = model.language_model(", "inputs_embeds = inputs_embeds[:, n_to_process:]"
_INPUTS = 'kwargs["per_layer_inputs"]'
_GENERATE = "mlx_vlm.generate.ar:generate_step"
_INDENT = "\n" + 20 * " "

WARM_PER_LAYER_INPUTS = Patch(
    name="warm-per-layer-inputs",
    wrong="Behind a warm cache, `generate_step` hands the per-layer inputs of the whole new prompt to each of its "
    "pieces, and the model cuts them by the cache's offset: all tokens but the last get those of the token after them. "
    "The harness does not see it, for it reads a chunk in one piece.",
    reached="A second turn with `prompt_cache`, on any checkpoint.",
    edits=(
        Edit(_GENERATE, _CHUNK, f"chunk_{_INPUTS} = {_INPUTS}[:, :n_to_process]{_INDENT}{_CHUNK}"),
        Edit(_GENERATE, _REST, f"{_REST}{_INDENT}{_INPUTS} = {_INPUTS}[:, n_to_process:]"),
    ),
    proof="test_warm_per_layer_inputs_are_those_of_the_next_token",
)

PROMPT_PATCHES = (BEGIN_TWICE, AUDIO_BEHIND_TEXT, WARM_PER_LAYER_INPUTS)
