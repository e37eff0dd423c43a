"""Weights of the embedded checkpoint: a table of rules, and a draw that gives the same bytes on every machine.

A tensor's values depend on its name, its shape and its rule alone: never on the order of tensors, on a library's
distributions (NumPy promises a stable stream of raw words, not of normals) or on measured activations.
"""

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tools.tiny.config import HEAD_DIM, HIDDEN, KV_HEADS, KV_SHARED_LAYERS, LAYERS, JsonObject

Shape = tuple[int, ...]
SEED: Final = "parity tiny gemma3n 1"


@dataclass(frozen=True)
class Uniform:
    """Uniform in [low, high): gains of norms and other scales, whose spread makes a permuted channel visible."""

    low: float
    high: float

    def values(self, raw: npt.NDArray[np.uint64], shape: Shape) -> npt.NDArray[np.float64]:
        """Map raw words to values; shape is not needed."""
        return self.low + (self.high - self.low) * ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53)


@dataclass(frozen=True)
class Bell:
    """Nearly normal with mean 0 and standard deviation `std`, or `gain / sqrt(fan_in)` where `fan_in` is set."""

    std: float
    fan_in: bool = False

    def values(self, raw: npt.NDArray[np.uint64], shape: Shape) -> npt.NDArray[np.float64]:
        """Sum the four 16-bit quarters of each word: exact in integers, so no mathematical library can differ."""
        quarters = raw.view("<u2").reshape(-1, 4).astype(np.int64).sum(axis=1)
        centred = (2 * quarters - 4 * 65535).astype(np.float64)
        unit: npt.NDArray[np.float64] = centred / math.sqrt(4 * (65536.0**2 - 1) / 3)
        return unit * (self.std / math.sqrt(math.prod(shape[1:])) if self.fan_in else self.std)


@dataclass(frozen=True)
class Rule:
    """What one kind of tensor is drawn from; `pattern` must match the whole name."""

    pattern: str
    draw: Uniform | Bell


TEXT: Final = r"model\.language_model\."
LAYER: Final = TEXT + r"layers\.\d+\."
VISION: Final = r"model\.vision_tower\.timm_model\."
BLOCK: Final = VISION + r"(blocks\.\d+\.\d+|msfa\.ffn)\."
AUDIO: Final = r"model\.audio_tower\."
CONFORMER: Final = AUDIO + r"conformer\.\d+\."

RULES: Final = (
    # Text. The reference multiplies embeddings by sqrt(width): the residual stream starts at rms 1.
    Rule(TEXT + r"embed_tokens\.weight", Bell(HIDDEN**-0.5)),
    Rule(TEXT + r"embed_tokens_per_layer\.weight", Bell(256**-0.5)),
    Rule(TEXT + r"per_layer_model_projection\.weight", Bell(1.0)),  # the reference multiplies by 1 / sqrt(width)
    Rule(TEXT + r"per_layer_projection_norm\.weight", Uniform(0.6, 1.4)),
    Rule(TEXT + r"altup_(unembed_)?projections\.\d+\.weight", Bell(1.0, fan_in=True)),
    Rule(TEXT + r"norm\.weight", Uniform(2.0, 4.0)),  # the spread of the logits: about 3, a tenth of the soft-cap
    Rule(LAYER + r"(input|pre_feedforward)_layernorm\.weight", Uniform(0.6, 1.4)),
    # Branches join at a third of the stream: with gains of 1 the 25 layers are chaotic (float32 floor 1e-4, not 1e-6).
    Rule(LAYER + r"post_(attention|feedforward)_layernorm\.weight", Uniform(0.2, 0.6)),
    Rule(LAYER + r"post_per_layer_input_norm\.weight", Uniform(0.4, 0.8)),
    # Attention has no 1 / sqrt(head_dim): gains of 0.6 keep the scores' spread near 2, so that softmax is not one-hot.
    Rule(LAYER + r"self_attn\.[qk]_norm\.weight", Uniform(0.4, 0.8)),
    Rule(LAYER + r"self_attn\.[qkvo]_proj\.weight", Bell(1.0, fan_in=True)),
    Rule(LAYER + r"laurel\.linear_(left|right)\.weight", Bell(1.0, fan_in=True)),
    Rule(LAYER + r"laurel\.post_laurel_norm\.weight", Uniform(0.2, 0.6)),
    Rule(LAYER + r"mlp\.(gate|up|down)_proj\.weight", Bell(1.0, fan_in=True)),
    Rule(LAYER + r"per_layer_(input_gate|projection)\.weight", Bell(1.0, fan_in=True)),
    # The router sees norm(x) / width: only weights of this size bring tanh's argument near 1.
    Rule(LAYER + r"altup\.modality_router\.weight", Bell(9.0)),
    Rule(LAYER + r"altup\.router_norm\.weight", Uniform(0.6, 1.4)),
    Rule(LAYER + r"altup\.prediction_coefs\.weight", Bell(0.06)),
    Rule(LAYER + r"altup\.correction_coefs\.weight", Bell(0.4)),
    Rule(LAYER + r"altup\.correct_output_scale", Uniform(0.6, 1.4)),
    # Both towers into the text's width.
    Rule(r"model\.embed_(vision|audio)\.embedding\.weight", Bell(1.0)),
    Rule(r"model\.embed_(vision|audio)\.(hard|soft)_embedding_norm\.weight", Uniform(0.6, 1.4)),
    Rule(r"model\.embed_(vision|audio)\.embedding_projection\.weight", Bell(1.0, fan_in=True)),
    # Vision. Every branch ends in a norm and a layer scale, so the residual stream grows as gamma * sqrt(blocks).
    Rule(VISION + r"conv_stem\.conv\.weight", Bell(1.5, fan_in=True)),
    Rule(VISION + r"conv_stem\.conv\.bias", Bell(0.3)),
    Rule(VISION + r"(conv_stem\.bn|msfa\.norm)\.weight", Uniform(0.6, 1.4)),
    Rule(BLOCK + r"(conv_exp|conv_pwl|(dw_start|dw_mid|pw_exp|pw_proj)\.conv)\.weight", Bell(1.0, fan_in=True)),
    Rule(BLOCK + r"(bn[12]|norm|(dw_start|dw_mid|pw_exp|pw_proj)\.bn)\.weight", Uniform(0.6, 1.4)),
    Rule(BLOCK + r"attn\.(key|value)\.norm\.weight", Uniform(0.6, 1.4)),
    # Scores' spread near 3: attention that is almost uniform would hide its queries and keys.
    Rule(BLOCK + r"attn\.(query|key)\.proj\.weight", Bell(1.4, fan_in=True)),
    Rule(BLOCK + r"attn\.((key|value)\.down_conv|(value|output)\.proj)\.weight", Bell(1.0, fan_in=True)),
    Rule(VISION + r"blocks\.\d\.0\.layer_scale\.gamma", Uniform(0.6, 1.4)),
    Rule(VISION + r"blocks\.\d\.(?!0\.)\d+\.layer_scale\.gamma", Uniform(0.04, 0.1)),
    # Audio.
    Rule(AUDIO + r"subsample_conv_projection\.conv_[01]\.conv\.weight", Bell(1.0, fan_in=True)),
    Rule(AUDIO + r"subsample_conv_projection\.conv_[01]\.norm\.weight", Uniform(0.6, 1.4)),
    Rule(AUDIO + r"subsample_conv_projection\.input_proj_linear\.weight", Bell(1.4, fan_in=True)),
    Rule(CONFORMER + r"(norm|.*_norm)\.weight", Uniform(0.6, 1.4)),
    Rule(CONFORMER + r"attention\.attn\.([qkv]_proj|relative_position_embedding\.pos_proj)\.weight", Bell(1.0, True)),
    Rule(CONFORMER + r"attention\.attn\.per_dim_scale", Uniform(-1.5, 1.5)),
    Rule(CONFORMER + r"attention\.post\.weight", Bell(1.0, fan_in=True)),
    Rule(CONFORMER + r"ffw_layer_(start|end)\.ffw_layer_[12]\.weight", Bell(1.0, fan_in=True)),
    Rule(CONFORMER + r"lconv1d\.(linear_start|linear_end|depthwise_conv1d)\.weight", Bell(1.0, fan_in=True)),
)


def rule(name: str) -> Rule:
    """Return the one rule for a tensor; a tensor with none or with several is an error in the table."""
    matching = [candidate for candidate in RULES if re.fullmatch(candidate.pattern, name)]
    if len(matching) != 1:
        raise LookupError(f"{name}: {len(matching)} rules match, expected one; correct RULES in {__name__}")
    return matching[0]


def draw(name: str, shape: Shape) -> npt.NDArray[np.uint16]:
    """Draw one tensor: the bit patterns of its bfloat16 values, in `shape`."""
    key = int.from_bytes(hashlib.sha256(f"{SEED}:{name}".encode()).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw(math.prod(shape)).astype("<u8")
    return to_bfloat16(rule(name).draw.values(raw, shape)).reshape(shape)


def to_bfloat16(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """Round to float32, then to the nearest bfloat16 (ties to even); return the bits."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype("<u2")


def shapes(config: JsonObject) -> dict[str, Shape]:
    """Return the name and shape of every tensor of the file: the reference's own, and the unused shared k and v."""
    import torch
    from transformers import Gemma3nConfig, Gemma3nForConditionalGeneration

    with torch.device("meta"):
        model = Gemma3nForConditionalGeneration(Gemma3nConfig.from_dict(config))
    # The word embedding is tied: published checkpoints have no lm_head.
    found = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    return found | dict(shared_key_values())


def shared_key_values() -> Iterator[tuple[str, Shape]]:
    """Yield what KV-shared layers never read: transformers drops it, published files have it, llama.cpp needs it."""
    for layer in range(LAYERS - KV_SHARED_LAYERS, LAYERS):
        prefix = f"model.language_model.layers.{layer}.self_attn"
        yield f"{prefix}.k_proj.weight", (KV_HEADS * HEAD_DIM, HIDDEN)
        yield f"{prefix}.v_proj.weight", (KV_HEADS * HEAD_DIM, HIDDEN)
        yield f"{prefix}.k_norm.weight", (HEAD_DIM,)
