"""Scaling of the residual stream by α, which keeps it in fp16's range. The function computed stays the same, exactly.

Gemma 3n's streams grow to where fp16 ends, and nearly everything that reads them begins with an RMSNorm, for which
``norm(α x, eps α²) = norm(x, eps)``. So the stream may carry α if all that is added to it does, and the one reader
without a norm, the gate of the per-layer input, takes α away again:

- Added to the streams: the embedding, ``post_attention_layernorm``, ``post_feedforward_layernorm``,
  ``post_per_layer_input_norm`` and Laurel's output, which is ``input_layernorm + post_laurel_norm``: their weights × α.
- ``input_layernorm`` then carries α to the projections of queries, keys and values, each of which ends in a norm, and
  to Laurel's, which end in ``post_laurel_norm``.
- AltUp is linear in the streams, with coefficients from a norm. `correct_output_scale` multiplies; it carries α along.
  Where AltUp embeds and unembeds, it divides one magnitude by another; both carry α, and so must the least magnitude.
- ``per_layer_model_projection`` reads the embeddings; its result carries α to ``per_layer_projection_norm``.
- The logits come from the final norm through a head that must not be scaled: it is untied from the embedding.
- Hard and soft embeddings of pictures and sounds end in a norm without a gain: who merges them multiplies by α.

A power of two costs no rounding, unless a weight becomes subnormal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from implementations.ane.engine.limits import LIMIT, SMALLEST_NORMAL
from parity.errors import UsageError

if TYPE_CHECKING:
    import torch

LANGUAGE = "model.language_model."
EMBEDDING = f"{LANGUAGE}embed_tokens.weight"
HEAD = "lm_head.weight"

MULTIPLIED = (
    "embed_tokens.weight",
    "layers.*.input_layernorm.weight",
    "layers.*.laurel.post_laurel_norm.weight",
    "layers.*.post_attention_layernorm.weight",
    "layers.*.post_feedforward_layernorm.weight",
    "layers.*.post_per_layer_input_norm.weight",
)
"""Weights × α, by their names in the language model."""

DIVIDED = ("layers.*.per_layer_input_gate.weight",)
"""Weights ÷ α."""

READERS = (
    "norm",
    "per_layer_projection_norm",
    "layers.*.input_layernorm",
    "layers.*.laurel.post_laurel_norm",
    "layers.*.pre_feedforward_layernorm",
    "layers.*.altup.router_norm",
    "layers.*.self_attn.[qkv]_norm",
)
"""Norms whose input carries α: their epsilon is `scaled_eps`. So is AltUp's least squared magnitude."""

CARRIERS = (
    "text.embed_tokens",
    "text.merged.*",
    "text.inputs_embeds",
    "text.per_layer_inputs.projection",
    "text.altup.*.target_magnitude",
    "text.altup.*.*.projection",
    "text.altup.*.*.magnitude",
    "text.altup.*.*.out",
    "text.altup.*.out",
    "text.layers.*.altup.predict.mixed",
    "text.layers.*.altup.predict.out",
    "text.layers.*.input_layernorm",
    "text.layers.*.laurel.*",
    "text.layers.*.attn.[qkv]_proj",
    "text.layers.*.post_attention_layernorm",
    "text.layers.*.attn_gated",
    "text.layers.*.attn_laurel",
    "text.layers.*.post_feedforward_layernorm",
    "text.layers.*.activated",
    "text.layers.*.altup.correct.innovation",
    "text.layers.*.altup.correct.out",
    "text.layers.*.altup.correct.scaled",
    "text.layers.*.post_per_layer_input_norm",
    "text.layers.*.out",
)
"""Steps of the contract whose values are α times the reference's."""


def carries_alpha(step: str) -> bool:
    """Whether the values of a step of the contract are α times the reference's."""
    return _any(step, CARRIERS)


def reads_alpha(norm: str) -> bool:
    """Whether the input of a norm carries α; `norm` is the module's name, as in the checkpoint."""
    return _any(norm.removeprefix(LANGUAGE), READERS)


def scaled_eps(eps: float, alpha: float) -> float:
    """What stands for `eps` beside a mean square that carries α²."""
    return eps * alpha * alpha


def scale_weights(
    weights: dict[str, torch.Tensor], alpha: float, *, limit: float = LIMIT, of: Iterable[str] = ()
) -> dict[str, torch.Tensor]:
    """The weights of the model whose residual stream carries α.

    Args:
        weights: any shapes, by the Hugging Face checkpoint's names; at least the language model's, or a part of them.
        alpha: positive and finite.
        limit: largest weight that fp16 may hold.
        of: where the weights are a part, the names of all.

    Returns:
        A new mapping, with ``lm_head.weight`` besides where the embedding is there. Scaled tensors are float32 at
        least, for bfloat16 would round products; the others are the ones given.

    Raises:
        UsageError: for an α that is no positive number, a weight that is missing, or one that leaves fp16's range.
    """
    if not (alpha > 0 and math.isfinite(alpha)):
        raise UsageError(f"alpha = {alpha:g} scales nothing; give a positive number, best a power of two")
    _require_all([*of] or weights)
    scaled = {name: _scaled(name, tensor, alpha, limit) for name, tensor in weights.items()}
    untied = {HEAD: weights[EMBEDDING]} if EMBEDDING in weights and HEAD not in weights else {}
    return scaled | untied


def _scaled(name: str, tensor: torch.Tensor, alpha: float, limit: float) -> torch.Tensor:
    part = name.removeprefix(LANGUAGE)
    multiplied = part != name and _any(part, MULTIPLIED)
    if not multiplied and (part == name or not _any(part, DIVIDED)):
        return tensor
    wide = tensor.double() if tensor.element_size() == 8 else tensor.float()
    result = wide * alpha if multiplied else wide / alpha
    _require_range(name, result, alpha, limit, grows=multiplied)
    return result


def _require_range(name: str, scaled: torch.Tensor, alpha: float, limit: float, *, grows: bool) -> None:
    """Refuse weights that fp16 cannot hold; `grows` says whether they grow with α."""
    peak = scaled.abs().max().item()
    if not peak <= limit:
        fault, cure = f"beyond the limit of {limit:g}", "smaller" if grows else "larger"
    elif 0 < peak < SMALLEST_NORMAL:
        fault, cure = f"all below fp16's smallest normal number {SMALLEST_NORMAL:g}", "larger" if grows else "smaller"
    else:
        return
    raise UsageError(f"alpha = {alpha:g}: {name} reaches {peak:g}, {fault}; give a {cure} alpha")


def _require_all(weights: Iterable[str]) -> None:
    names = [name.removeprefix(LANGUAGE) for name in weights if name.startswith(LANGUAGE)]
    for pattern in (*MULTIPLIED, *DIVIDED):
        if not any(_matches(name, pattern) for name in names):
            raise UsageError(f"the residual stream cannot be scaled: no weight is called {LANGUAGE}{pattern}")


def _any(name: str, patterns: Iterable[str]) -> bool:
    return any(_matches(name, pattern) for pattern in patterns)


def _matches(name: str, pattern: str) -> bool:
    """Part by part: a star stands for one part of a dotted name."""
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
