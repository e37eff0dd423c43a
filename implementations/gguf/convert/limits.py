"""What llama.cpp computes with whatever a file's header says: a checkpoint that says otherwise cannot be represented.

Each was found by writing a header that says otherwise: the model is not loaded, or computes the same to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from implementations.gemma3n.config import Config, TextConfig
from implementations.gemma3n.rope import SLIDING
from parity.errors import UsageError

LAUREL_RANK, PER_LAYER_WIDTH = 64, 256
STREAMS, ACTIVE = 4, 0
SPARSE_LAYERS, SPARSITY = 10, 0.95
FIRST_SHARED = 20
"""The first layer that has the keys of another: of the last full layer, 19, or the last sliding one, 18."""
SOFT_CAP = 30.0
MOST = 2**32 - 1
"""The greatest integer of a header: they are uint32 in it."""
MOST_WINDOW = 2**23
"""The greatest window: llama.cpp counts the cells of 256 windows, one for each sequence, in uint32.

With 16 sequences it cannot compute a window of 2^28; of 2^31 - 1 its logits are others, and of 2^31 no numbers.
"""


def require_representable(checkpoint: Path, config: Config) -> None:
    """Refuse what a file cannot hold, or what would be computed otherwise.

    Raises:
        UsageError: naming all of it.
    """
    text = config.text
    if found := [*_numbers(text), *_sizes(text), *_layers(text), *_functions(text)]:
        raise UsageError(f"checkpoint {checkpoint} is no model that llama.cpp computes: {'; '.join(found)}")


def beyond_float32(name: str, value: float) -> Iterator[str]:
    """What is said of a number that float32, which a header's are in, has as infinite or not to its precision."""
    held = np.finfo(np.float32)
    if value and not float(held.tiny) <= abs(value) <= float(held.max):
        yield f"{name} {value}, there a float32 of {held.tiny:.2g} to {held.max:.2g}"


def _numbers(text: TextConfig) -> Iterator[str]:
    """Those that a header has no room for."""
    whole = {name: value for name, value in vars(text).items() if type(value) is int}
    for name, value in (whole | {"intermediate_size": max(text.intermediate_size)}).items():
        if value > (most := MOST_WINDOW if name == "sliding_window" else MOST):
            yield f"{name} {value}, there at most {most}"
    yield from beyond_float32("rms_norm_eps", text.rms_norm_eps)
    for kind, rope in text.ropes.items():
        yield from beyond_float32(f"RoPE base of {kind}", rope.theta)
        yield from beyond_float32(f"RoPE factor of {kind}", rope.factor)


def _sizes(text: TextConfig) -> Iterator[str]:
    wanted = {
        "laurel_rank": LAUREL_RANK,
        "hidden_size_per_layer_input": PER_LAYER_WIDTH,
        "altup_num_inputs": STREAMS,
        "altup_active_idx": ACTIVE,
    }
    for name, value in wanted.items():
        if (found := getattr(text, name)) != value:
            yield f"{name} {found}, there always {value}"
    if len(set(text.intermediate_size)) > 1:
        yield "intermediate_size differs between layers, there it is one"
    if (rows := text.vocab_size_per_layer_input) > text.vocab_size:
        yield f"vocab_size_per_layer_input {rows}, there at most vocab_size, {text.vocab_size}"


def _layers(text: TextConfig) -> Iterator[str]:
    pattern = text.activation_sparsity_pattern
    sparse = tuple(SPARSITY if layer < SPARSE_LAYERS else 0.0 for layer in range(len(pattern)))
    if pattern != sparse:
        yield f"activation_sparsity_pattern, there {SPARSITY} in the first {SPARSE_LAYERS} layers alone"
    if (first := text.first_shared_layer) != min(FIRST_SHARED, text.num_hidden_layers):
        yield f"keys shared from layer {first} on, there from {FIRST_SHARED}"
    elif text.num_kv_shared_layers:
        sliding = {layer: text.layer_types[layer] == SLIDING for layer in (FIRST_SHARED - 2, FIRST_SHARED - 1)}
        if list(sliding.values()) != [True, False]:
            yield f"layer_types, there layer {FIRST_SHARED - 2} is sliding and {FIRST_SHARED - 1} is full"
    if SLIDING not in text.layer_types:
        yield "no sliding layer, there at least one"


def _functions(text: TextConfig) -> Iterator[str]:
    if (cap := text.final_logit_softcapping) != SOFT_CAP:
        yield f"final_logit_softcapping {cap}, there always {SOFT_CAP}"
    if not text.altup_correct_scale:
        yield "altup_correct_scale false, there always true"
    if (factor := text.ropes[SLIDING].factor) != 1:
        yield f"RoPE factor {factor} of sliding layers, there of full ones alone"
